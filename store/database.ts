// The connection to Postgres, and the settings of the server that the promise rests on.

import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'

export type Sql = postgres.Sql

/**
 * Opens a pool. `connections` bounds it; nothing is connected before the first statement. `looking`: for listings, whose best plan
 * depends on what is asked; Postgres plans each anew, where it would keep one for all.
 */
export function openDatabase(url: string, connections: number, application = 'everpost', looking = false): Sql {
  return postgres(url, {
    max: connections,
    connect_timeout: 10,
    idle_timeout: 0,
    onnotice: () => {},
    connection: { application_name: application, ...(looking ? { plan_cache_mode: 'force_custom_plan' } : {}) },
    types: { bigint: { to: 20, from: [20], parse: Number, serialize: String } },
  })
}

/** The database is not one that this program may work with; the message says why, and what to do. */
export class UnfitDatabase extends Error {}

/**
 * Refuses a server whose settings break the promise that a message answered 250 is never lost.
 * Throws an UnfitDatabase that names each setting and what it must be.
 */
export async function checkDurability(sql: Sql): Promise<void> {
  const rows = await sql<{ name: string; setting: string }[]>`
    select name, setting from pg_settings where name in ('fsync', 'full_page_writes', 'synchronous_commit')`
  const faults = rows.filter((row) => row.setting === 'off').map((row) => `${row.name} is off`)
  if (faults.length > 0) {
    throw new UnfitDatabase(`Postgres would lose accepted mail: ${faults.join(', ')}. Turn it on in postgresql.conf and start again.`)
  }
}

/** What a server says that shuts down, starts, has no room or lost a race (SQLSTATE classes), or nobody says since it is gone. */
const passing = /^(08|25006|40|53|57|58|XX)/

/** Whether this error of a statement is one of the moment: the same statement may succeed later. */
function isPassing(error: unknown): boolean {
  const { code = '', severity } = error as { code?: string; severity?: string }
  // CONNECTION_ENDED is ours: the pool was closed, since the process stops.
  return severity === undefined ? /^(CONNECT|E(?!RR_)[A-Z_]+$|ERR_(TLS|SSL)_)/.test(code) && code !== 'CONNECTION_ENDED' : passing.test(code)
}

/** Whether it is the database that failed, rather than what was done with its answer. */
export function isDatabaseError(error: unknown): boolean {
  const { code: given, name } = (error ?? {}) as { code?: unknown; name?: string }
  const code = typeof given === 'string' ? given : ''
  return name === 'PostgresError' || code.startsWith('CONNECT')
    || ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'].includes(code)
}

/** Whether the server has no room left on its disk (disk_full). */
export function isDiskFull(error: unknown): boolean {
  return (error as { code?: string }).code === '53100'
}

/** What says that the statement has not reached the server: there was no connection for it. */
const unsent = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'CONNECT_TIMEOUT', 'CONNECTION_ENDED']

/** Whether the connection broke under the statement: nobody knows whether it was carried out. */
export function leavesOpen(error: unknown): boolean {
  const { code = '', severity } = error as { code?: string; severity?: string }
  return severity === undefined ? /^(CONNECTION_|E(?!RR_))[A-Z_]+$/.test(code) && !unsent.includes(code) : /^(08|57P0[12])/.test(code)
}

/** Whether a row was kept by another transaction for longer than the statement may wait (lock_not_available). */
export function isRowTaken(error: unknown): boolean {
  return (error as { code?: string }).code === '55P03'
}

/** Whether what was to be stored is at fault, whatever the server's state: SQLSTATE classes 22 (data exception) and 23 (integrity constraint violation). */
export function isOfData(error: unknown): boolean {
  const { code = '', severity } = error as { code?: string; severity?: string }
  return severity !== undefined && /^2[23]/.test(code)
}

/**
 * Does what must be done even when the database is away for a while: repeats `work`, which must do no harm when it is done
 * twice, for at most `limit` milliseconds. Throws at once what another try would not mend.
 */
export async function whenBack<T>(work: () => Promise<T>, limit = 600_000): Promise<T> {
  const end = performance.now() + limit
  for (let pause = 50; ; pause = Math.min(pause * 2, 1000)) {
    try {
      return await work()
    } catch (error) {
      if (!isPassing(error) || performance.now() > end) throw error
      await sleep(pause)
    }
  }
}
