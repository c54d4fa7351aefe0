// The inbound edge as a whole: its listeners, started and stopped together.

import { readFileSync } from 'node:fs'
import type { Logger } from 'pino'
import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import type { Outbox } from './outbox.ts'
import { closeListener, createListener, listen, type SmtpListener, type TlsFiles } from './smtp.ts'

export interface IngressDeps {
  settings: Settings
  sql: Sql
  /** Starts the workflow of a committed message. */
  startMessage: (id: string) => Promise<void>
  dns: { reverse(address: string): Promise<string | null> }
  outbox: Outbox
  log: Logger
}

export interface Ingress {
  addresses: { kind: string; address: string; port: number }[]
  /** No new connections; messages in DATA are finished, for at most five seconds. */
  stop(): Promise<void>
}

/** Throws an Error of one line when a listener cannot be had; then none is left open. */
export async function startIngress(deps: IngressDeps): Promise<Ingress> {
  const tls = readTls(deps.settings)
  const open: SmtpListener[] = []
  const addresses: Ingress['addresses'] = []
  const stop = async () => {
    await Promise.all(open.map(closeListener))
  }
  try {
    for (const listener of deps.settings.listeners) {
      if (listener.kind === 'submissions' && !tls) {
        throw new Error(`The submissions listener on port ${listener.port} needs tls.cert and tls.key in the settings.`)
      }
      const created = createListener(deps, listener, tls)
      const port = await listen(created.server, listener)
      open.push(created)
      addresses.push({ kind: listener.kind, address: listener.address, port })
    }
    return { addresses, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function readTls({ tls }: Settings): TlsFiles | null {
  if (!tls) return null
  const read = (path: string) => {
    try {
      return readFileSync(path)
    } catch (error) {
      throw new Error(`${path} cannot be read (${(error as NodeJS.ErrnoException).code}). Check tls.cert and tls.key in the settings.`)
    }
  }
  return { cert: read(tls.cert), key: read(tls.key) }
}
