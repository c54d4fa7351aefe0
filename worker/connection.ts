// How Temporal is spoken to: its address, TLS and API key, from the settings and the files that they name, for the client and for the worker.

import { readFileSync } from 'node:fs'
import { createSecureContext, rootCertificates } from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import type { TLSConfig } from '@temporalio/client'
import type { Logger } from 'pino'
import { SettingsError } from '../settings/load.ts'
import type { Settings } from '../settings/schema.ts'

/** What `Connection` (the client's) and `NativeConnection` (the worker's) both take. */
export interface ConnectionOptions {
  address: string
  tls?: TLSConfig
  apiKey?: string
}

/** Milliseconds between two looks at the files. */
const looked = 60_000

/** Reads the files. Throws a SettingsError of one line that names the one that is no good. */
export function connectionOptions({ temporal }: Settings): ConnectionOptions {
  const { address } = temporal
  const apiKey = temporal.apiKey || (temporal.apiKeyFile === undefined ? '' : readKey(temporal.apiKeyFile))
  const tls = temporal.tls ?? apiKey !== ''
  return { address, ...(tls ? { tls: readTls(tls === true ? {} : tls) } : {}), ...(apiKey === '' ? {} : { apiKey }) }
}

/**
 * Looks, each minute and when it is asked to, whether the files say something else than at the last look; then `renewed` is called.
 * What is no good is logged, once, and not used.
 */
export function watchConnection(settings: Settings, log: Logger, renewed: (options: ConnectionOptions) => void): { look(): void; stop(): void } {
  let [last, fault] = [connectionOptions(settings), '']
  const look = () => {
    try {
      const options = connectionOptions(settings)
      fault = ''
      if (isDeepStrictEqual(options, last)) return
      last = options
      log.info('certificates or key for Temporal read again')
      renewed(options)
    } catch (error) {
      const { message } = error as Error
      if (message !== fault) log.error({ error: message }, 'certificates or key for Temporal not read again: the old ones stay')
      fault = message
    }
  }
  const timer = setInterval(look, looked).unref()
  return { look, stop: () => clearInterval(timer) }
}

/** Worker and client would each bring their own usual CAs, and the worker those of a system that may have none: both get Node's. */
function readTls({ ca, cert, key, servername }: Exclude<Settings['temporal']['tls'], boolean | undefined>): TLSConfig {
  const authorities = ca === undefined ? Buffer.from(rootCertificates.join('\n')) : read('tls.ca', ca)
  if (!authorities.includes('-----BEGIN CERTIFICATE-----')) throw new SettingsError(`${ca} holds no certificate in PEM form. Check temporal.tls.ca in the settings.`)
  const pair = cert === undefined ? null : { crt: read('tls.cert', cert), key: read('tls.key', key!) }
  try {
    createSecureContext({ ca: authorities, ...(pair && { cert: pair.crt, key: pair.key }) })
  } catch (error) {
    const what = pair ? `${cert} and ${key} are no certificate and its key` : `${ca} holds a certificate that cannot be read`
    throw new SettingsError(`${what} (${(error as Error).message}). Check temporal.tls in the settings.`)
  }
  return { serverRootCACertificate: authorities, ...(servername === undefined ? {} : { serverNameOverride: servername }), ...(pair ? { clientCertPair: pair } : {}) }
}

function readKey(path: string): string {
  const key = read('apiKeyFile', path).toString('latin1').replace(/\r?\n$/, '')
  if (!/^[\x21-\x7e]+$/.test(key)) throw new SettingsError(`${path} must hold one line, the API key. Check temporal.apiKeyFile in the settings.`)
  return key
}

function read(name: string, path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new SettingsError(`${path} cannot be read (${(error as NodeJS.ErrnoException).code}). Check temporal.${name} in the settings.`)
  }
}
