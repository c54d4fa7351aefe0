// Why Temporal cannot be spoken to, in words for people, and what to do. The SDKs say little more than that they did not get through, so the
// way there is tried once more by hand.

import { connect, isIP, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions as TlsOptions } from 'node:tls'
import { SettingsError } from '../settings/load.ts'
import type { Settings } from '../settings/schema.ts'
import { type ConnectionOptions, connectionOptions } from './connection.ts'

export interface Fault {
  what: string
  todo: string
}

/** Milliseconds for a server to say its first octets. */
const patience = 2000
/** What a client of HTTP/2 says first: its preface, and SETTINGS without any (RFC 9113 section 3.4). */
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1')
/** Type of a TLS record that holds an alert. */
const alert = 0x15

/** `error`: of a connection, or of a call. */
export async function whyUnreachable(settings: Settings, error: unknown): Promise<Fault> {
  let options: ConnectionOptions
  try {
    options = connectionOptions(settings)
  } catch (unread) {
    if (unread instanceof SettingsError) return fault(unread.message, mailWaits)
    throw unread
  }
  return refusal(error, options) ?? (await onTheWay(options)) ?? fault(`Temporal answers at ${options.address}, but not as it should: ${textOf(error)}`, 'Look at the log of Temporal itself.')
}

const mailWaits = 'Mail is accepted meanwhile, and starts when Temporal is reached.'

const fault = (what: string, todo: string): Fault => ({ what, todo })

/** Codes of gRPC, and the words in which the worker's SDK tells them. */
const refusals: [code: number, name: string, words: RegExp][] = [
  [16, 'UNAUTHENTICATED', /valid authentication credentials|Unauthenticated/], [7, 'PERMISSION_DENIED', /does not have permission|PermissionDenied/],
]

/** Whether the server has refused us, rather than this one call. */
function refusal(error: unknown, { address, apiKey, tls }: ConnectionOptions): Fault | null {
  const [code, text] = [codeOf(error), textOf(error)]
  const [, name] = refusals.find(([number, , words]) => number === code || words.test(text)) ?? []
  if (!name) return null
  if (apiKey !== undefined) {
    return fault(`Temporal at ${address} refuses our API key (${name})`, `Set TEMPORAL_API_KEY, or temporal.apiKeyFile, to a key that has not expired and may use the namespace. ${mailWaits}`)
  }
  const whom = tls?.clientCertPair ? 'our client certificate for this namespace' : 'us: no API key is set'
  return fault(`Temporal at ${address} refuses ${whom} (${name})`, `Set TEMPORAL_API_KEY or temporal.apiKeyFile; or temporal.tls.cert and key, and the namespace that they are for. ${mailWaits}`)
}

/** The code of gRPC, which the client's SDK wraps. */
function codeOf(error: unknown): number | undefined {
  const { code, cause } = (error ?? {}) as { code?: unknown; cause?: unknown }
  return typeof code === 'number' ? code : cause ? codeOf(cause) : undefined
}

function textOf(error: unknown): string {
  const { message, details, cause } = (error ?? {}) as { message?: string; details?: string; cause?: unknown }
  return [details || (message ?? String(error)), ...(cause ? [textOf(cause)] : [])].join(': ')
}

/** What a connection made by hand comes to; null: the server speaks HTTP/2 with us. */
async function onTheWay(options: ConnectionOptions): Promise<Fault | null> {
  const { address, tls } = options
  const { code = '', message, first, secured } = await greeted(options)
  if (first !== undefined && (tls || first !== alert)) return null
  if (!tls && (first === alert || code === 'ECONNRESET' || code === '')) {
    const todo = 'It may ask for TLS: set temporal.tls (true, or a mapping with ca, cert and key) or an API key. Otherwise correct TEMPORAL_ADDRESS.'
    return fault(`what listens at ${address} hangs up on us, who speak no TLS`, todo)
  }
  if (/wrong.version.number|packet length too long/i.test(`${code} ${message}`)) {
    return fault(`what listens at ${address} speaks no TLS`, 'Take temporal.tls out of the settings, or set it to false where there is an API key; or give Temporal a certificate.')
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return fault(`the certificate of Temporal at ${address} is for another name: ${message}`, 'Set temporal.tls.servername to a name that it is for, or correct TEMPORAL_ADDRESS.')
  }
  if (code === 'CERT_HAS_EXPIRED') return fault(`the certificate of Temporal at ${address} has expired`, `Renew it there. ${mailWaits}`)
  if (/^(?!ERR_).*(SELF_SIGNED|UNABLE_TO|CERT_|INVALID_CA)/.test(code)) {
    return fault(`the certificate of Temporal at ${address} is of a CA that is not trusted here (${code})`, 'Name the certificates of its CA in temporal.tls.ca.')
  }
  if (tls && (secured || code.includes('ALERT'))) return ofClient(options, code || 'it hangs up')
  return fault(`Temporal does not answer at ${address}: ${message || 'it hangs up'}`, `Start it, or correct TEMPORAL_ADDRESS. ${mailWaits}`)
}

/** Our certificate, or that we have none, was no good. */
function ofClient({ address, tls }: ConnectionOptions, told: string): Fault {
  if (!tls?.clientCertPair) return fault(`Temporal at ${address} asks for a client certificate, and we have none (${told})`, 'Set temporal.tls.cert and temporal.tls.key.')
  const todo = 'Give temporal.tls.cert and key that are of a CA that Temporal knows (its clientCaFiles), and have not expired.'
  return fault(`Temporal at ${address} does not take our client certificate (${told})`, todo)
}

interface Greeting {
  code?: string | undefined
  message: string
  /** The first octet that the server said. */
  first?: number
  /** TLS stood. A server that does not take a client's certificate says so after that. */
  secured: boolean
}

function greeted({ address, tls }: ConnectionOptions): Promise<Greeting> {
  const { hostname, port } = new URL(`tcp://${address}`)
  const host = hostname.replace(/^\[|\]$/g, '')
  const to = { host, port: Number(port || 7233) }
  return new Promise((resolve) => {
    let secured = false
    const end = (greeting: Omit<Greeting, 'secured'>) => {
      clearTimeout(timer)
      resolve({ ...greeting, secured })
      socket.destroy()
    }
    const socket: Socket = tls ? connectTls({ ...to, ...secrets(tls, host) }, () => { secured = true }) : connect(to)
    const timer = setTimeout(() => end({ code: 'ETIMEDOUT', message: `it says nothing in ${patience / 1000} s` }), patience)
    socket.on('error', ({ code, message }: NodeJS.ErrnoException) => end({ code, message })).on('close', () => end({ message: '' }))
    socket.once('data', (octets: Buffer) => end({ message: '', first: octets[0]! }))
    socket.write(preface)
  })
}

function secrets({ serverRootCACertificate: ca, clientCertPair: pair, serverNameOverride }: NonNullable<ConnectionOptions['tls']>, host: string): TlsOptions {
  const servername = serverNameOverride ?? (isIP(host) ? undefined : host)
  return {
    ALPNProtocols: ['h2'], ca: Buffer.from(ca!), ...(pair ? { cert: Buffer.from(pair.crt), key: Buffer.from(pair.key) } : {}), ...(servername === undefined ? {} : { servername }),
  }
}
