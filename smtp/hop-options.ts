// How a next hop is spoken to beyond its address: TLS, AUTH, our source address and address families, from the routes that lead to it. Reads their files, and says at start what is wrong.

import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createSecureContext, type SecureContext } from 'node:tls'
import { nextHopKey, parseNextHop, type RouteRule, type TlsPolicy } from '../mail/route.ts'
import type { Credentials, Mechanism } from './auth.ts'
import { bothFamilies, type Family } from './families.ts'
import { bindProblem, type Source } from './source.ts'
import { type HostTls, plainTls } from './tls.ts'

/** A route as the settings give it; paths are absolute. */
export interface RouteOptions extends RouteRule {
  tls?: {
    level: TlsPolicy
    implicit: boolean
    ca?: string | undefined
    cert?: string | undefined
    key?: string | undefined
    servername?: string | undefined
    minVersion: HostTls['minVersion']
  } | undefined
  auth?: {
    user: string
    passwordFile?: string | undefined
    passwordEnv?: string | undefined
    tokenFile?: string | undefined
    mechanism?: Mechanism | undefined
    clearText: boolean
  } | undefined
  /** In place of that of all next hops, as a whole. */
  source?: Source | undefined
  /** The same. */
  addressFamilies?: Family[] | undefined
}

export interface HopOptions {
  tls: HostTls
  auth: Credentials | null
  source: Source
  addressFamilies: Family[]
}

/** A file, variable or source address that the settings name cannot be used: one line that says which and why. */
export class UnusableSetting extends Error {}

/** The options of each next hop, by its key (mail/route.ts, nextHopKey); those of `all` where no route has others. Throws UnusableSetting. */
export function loadHopOptions(
  routes: RouteOptions[], all: Partial<Pick<HopOptions, 'source' | 'addressFamilies'>> = {}, environment: NodeJS.ProcessEnv = process.env,
): (nextHop: string) => HopOptions {
  const others: HopOptions = { tls: plainTls('may'), auth: null, source: all.source ?? {}, addressFamilies: all.addressFamilies ?? bothFamilies }
  // Final delivery within the house has no use for the address that the world knows us by.
  const atHome: HopOptions = { ...others, source: {} }
  // What stays on this machine needs no TLS, and no certificate could be good for a path.
  const overSocket: HopOptions = { ...atHome, tls: plainTls('none') }
  const byKind = (nextHop: string) => (nextHop.startsWith('lmtp:unix:') ? overSocket : nextHop.startsWith('lmtp:') ? atHome : others)
  const known = new Map<string, HopOptions>()
  for (const [i, route] of routes.entries()) {
    const key = nextHopKey(parseNextHop(route.nextHop))
    const where = `routes[${i}] (to ${route.nextHop})`
    const { tls, auth, source, addressFamilies } = byKind(key)
    known.set(key, {
      // A password is not given to whoever answers: without a word about TLS the host must prove its name.
      tls: route.tls ? loadTls(route.tls, key, where) : route.auth ? plainTls('verify') : tls,
      auth: route.auth ? loadCredentials(route.auth, key, where, environment) : auth,
      source: route.source ?? source,
      addressFamilies: route.addressFamilies ?? addressFamilies,
    })
  }
  return (nextHop) => known.get(nextHop) ?? byKind(nextHop)
}

/** Whether this machine has each source address. Throws UnusableSetting. */
export async function checkSources(routes: RouteOptions[], source: Source): Promise<void> {
  const all = [['transfer.source', source] as const, ...routes.map((route, i) => [`routes[${i}].source`, route.source ?? {}] as const)]
  for (const [where, { ipv4, ipv6 }] of all) {
    for (const [family, address] of Object.entries({ ipv4, ipv6 })) {
      const problem = address === undefined ? null : await bindProblem(address)
      if (problem !== null) throw new UnusableSetting(`${where}.${family} ${address}: ${problem}`)
    }
  }
}

function loadTls(tls: NonNullable<RouteOptions['tls']>, key: string, where: string): HostTls {
  const { level, implicit, minVersion, servername = null } = tls
  const context = tls.ca || tls.cert || tls.key ? secureContext(tls, where) : null
  return { id: context ? key : '', level, implicit, servername, minVersion, context }
}

function secureContext({ ca, cert, key, minVersion }: NonNullable<RouteOptions['tls']>, where: string): SecureContext {
  const read = (name: string, path: string | undefined) => {
    if (path === undefined) return undefined
    try {
      return readFileSync(path)
    } catch (error) {
      throw new UnusableSetting(`${where}: tls.${name} ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`)
    }
  }
  try {
    const parts = { cert: read('cert', cert), key: read('key', key), ca: read('ca', ca) }
    if (parts.ca && !parts.ca.includes('-----BEGIN CERTIFICATE-----')) throw new UnusableSetting(`${where}: tls.ca ${ca} holds no certificate in PEM form`)
    return createSecureContext({ minVersion, ...parts })
  } catch (error) {
    if (error instanceof UnusableSetting) throw error
    throw new UnusableSetting(`${where}: tls.cert and tls.key cannot be used: ${(error as Error).message}`)
  }
}

function loadCredentials(auth: NonNullable<RouteOptions['auth']>, key: string, where: string, environment: NodeJS.ProcessEnv): Credentials {
  const file = auth.tokenFile ?? auth.passwordFile
  const fixed = auth.passwordEnv === undefined ? undefined : environment[auth.passwordEnv]
  if (auth.passwordEnv !== undefined && !fixed) throw new UnusableSetting(`${where}: the environment has no ${auth.passwordEnv}, which auth.passwordEnv names`)
  const check = (text: string) => {
    const secret = text.replace(/\r?\n$/, '')
    if (secret === '' || /[\r\n\0]/.test(secret)) throw new UnusableSetting(`${where}: ${file} must hold one line, the secret`)
    return secret
  }
  const unreadable = (error: unknown) =>
    error instanceof UnusableSetting ? error : new UnusableSetting(`${where}: the secret in ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  try {
    if (file !== undefined) check(readFileSync(file, 'utf8'))
  } catch (error) {
    throw unreadable(error)
  }
  return {
    id: key,
    user: auth.user,
    mechanism: auth.tokenFile === undefined ? (auth.mechanism ?? null) : 'xoauth2',
    clearText: auth.clearText,
    secret: async () => fixed ?? (await readFile(file!, 'utf8').then(check).catch((error) => Promise.reject(unreadable(error)))),
  }
}
