// Reads the settings: the YAML file, then the environment, checked as a whole. Every fault is told at once.

import { existsSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { LineCounter, parseDocument } from 'yaml'
import { canonicalDomain } from '../mail/address.ts'
import { fitsSocket, longestSocketPath } from '../mail/route.ts'
import { isMapping } from './defaults.ts'
import { dotted, faultsOf } from './faults.ts'
import { type Settings, type SettingsFile, settingsSchema } from './schema.ts'

const defaultFile = './everpost.yaml'

/** The settings are wrong: one line for each fault. The CLI prints them and ends with exit code 78 (EX_CONFIG). */
export class SettingsError extends Error {}

export interface LoadOptions {
  /** Path of the file; undefined: ./everpost.yaml if it is there. */
  file?: string | undefined
  environment?: NodeJS.ProcessEnv
  /** Under the file: dev mode's own defaults. */
  base?: SettingsFile
}

export interface Loaded {
  settings: Settings
  /** What was read, before defaults were filled in. */
  written: SettingsFile
}

/** Loads the settings. Paths in them count from the folder of the file. Throws SettingsError. */
export function loadSettings({ file, environment = process.env, base = {} }: LoadOptions = {}): Loaded {
  const path = file ?? (existsSync(defaultFile) ? defaultFile : undefined)
  const { value, where } = path === undefined ? { value: {}, where: () => 'settings' } : readYaml(path)
  const written = withEnvironment(merge(base, value), environment)
  const parsed = settingsSchema.safeParse(written)
  if (!parsed.success) throw new SettingsError(parsed.error.issues.flatMap((issue) => faultsOf(issue, written, where)).join('\n'))
  const settings = absolute(parsed.data, path === undefined ? process.cwd() : dirname(resolve(path)))
  checkSockets(settings, where)
  return { settings, written }
}

function readYaml(path: string): { value: SettingsFile; where: (path: PropertyKey[]) => string } {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new SettingsError(`${path} cannot be read (${(error as NodeJS.ErrnoException).code}). Name another file with --config.`)
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines })
  if (document.errors.length > 0) {
    throw new SettingsError(document.errors.map((error) => `${path}:${error.linePos?.[0].line ?? 1}: ${error.message.split('\n')[0]}`).join('\n'))
  }
  const where = (keys: PropertyKey[]) => {
    for (let depth = keys.length; depth > 0; depth--) {
      const node = document.getIn(keys.slice(0, depth), true) as { range?: [number] } | undefined
      if (node?.range) return `${path}:${lines.linePos(node.range[0]).line}`
    }
    return path
  }
  let value: unknown
  try {
    value = document.toJS() ?? {}
  } catch (error) {
    // An alias without its anchor, or too many of them: the text is YAML, its meaning is none.
    throw new SettingsError(`${path}: ${(error as Error).message.split('\n')[0]}`)
  }
  if (typeof value !== 'object' || Array.isArray(value)) throw new SettingsError(`${path}: the settings are a mapping of keys to values`)
  return { value: value as SettingsFile, where }
}

/** Maps of domains and addresses, not sections. */
const maps = ['localDomains', 'relayDomains', 'aliases']

/** The settings of the file over those of the base: sections are merged key by key, however deep; lists and maps are replaced as a whole. */
export function merge(base: SettingsFile, file: SettingsFile): SettingsFile {
  return over(base, file, maps)
}

function over(base: Record<string, unknown>, file: Record<string, unknown>, whole: string[] = []): Record<string, unknown> {
  const merged = { ...base }
  for (const [key, value] of Object.entries(file)) {
    const under = merged[key]
    merged[key] = isMapping(under) && isMapping(value) && !whole.includes(key) ? over(under, value) : value
  }
  return merged
}

function withEnvironment(written: SettingsFile, environment: NodeJS.ProcessEnv): SettingsFile {
  const { DATABASE_URL: url, TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: namespace, TEMPORAL_API_KEY: apiKey } = environment
  const temporal = Object.fromEntries(Object.entries({ address, namespace, apiKey }).filter(([, value]) => value))
  return merge(written, { ...(url ? { database: { url } } : {}), ...(Object.keys(temporal).length > 0 ? { temporal } : {}) })
}

function absolute(settings: Settings, folder: string): Settings {
  const from = (path: string) => resolve(folder, path)
  const localDomains = Object.fromEntries(
    Object.entries(settings.localDomains).map(([domain, agent]) => [
      canonicalDomain(domain), 'path' in agent && agent.path !== undefined ? { ...agent, path: from(agent.path) } : agent,
    ]),
  )
  const pair = ({ cert, key }: { cert: string; key: string }) => ({ cert: from(cert), key: from(key) })
  const names = Object.fromEntries(Object.entries(settings.tls?.names ?? {}).map(([name, each]) => [name, pair(each)]))
  const tls = settings.tls && { ...pair(settings.tls), names }
  const listeners = settings.listeners.map((listener) => (listener.path === undefined ? listener : { ...listener, path: from(listener.path) }))
  const { tls: towards } = settings.temporal
  const temporal = paths({ ...settings.temporal, ...(isMapping(towards) && { tls: paths(towards, ['ca', 'cert', 'key'], from) }) }, ['apiKeyFile'], from)
  return { ...settings, state: from(settings.state), tls, listeners, localDomains, temporal, routes: settings.routes.map((route) => absoluteRoute(route, from)) }
}

/** Throws SettingsError. How long a path is shows when it counts from the root. */
function checkSockets({ listeners, localDomains }: Settings, where: (path: PropertyKey[]) => string): void {
  const sockets = [
    ...listeners.map(({ path }, i) => ({ keys: ['listeners', i, 'path'], path })),
    ...Object.entries(localDomains).map(([domain, agent]) => ({ keys: ['localDomains', domain, 'path'], path: agent.deliver === 'lmtp' ? agent.path : undefined })),
  ]
  const long = sockets.filter(({ path }) => path !== undefined && !fitsSocket(path))
  const faults = long.map(({ keys, path }) => `${where(keys)}: ${dotted(keys)} is ${path}; allowed: at most ${longestSocketPath} octets`)
  if (faults.length > 0) throw new SettingsError(faults.join('\n'))
}

/** The same with absolute paths under these names; one that is not given stays so. */
function paths<T extends object>(of: T, names: string[], from: (path: string) => string): T {
  return { ...of, ...Object.fromEntries(Object.entries(of).filter(([name, path]) => names.includes(name) && path !== undefined).map(([name, path]) => [name, from(path as string)])) }
}

function absoluteRoute({ tls, auth, ...route }: Settings['routes'][number], from: (path: string) => string): Settings['routes'][number] {
  return { ...route, ...(tls && { tls: paths(tls, ['ca', 'cert', 'key'], from) }), ...(auth && { auth: paths(auth, ['passwordFile', 'tokenFile'], from) }) }
}
