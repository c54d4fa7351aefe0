// The connection to Postgres, and the settings of the server that the promise rests on.

import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'

export type Sql = postgres.Sql

/** For listings, whose best plan depends on what is asked: Postgres plans each anew, where it would keep one for all. */
export const looking = { plan_cache_mode: 'force_custom_plan' }

/** Seconds. */
const connectTime = 10

/** Seconds until a connection that failed so many times is made again. The driver's own pause grows to 20 s, for which a Postgres that is back was not asked. */
const pauseBefore = (tries: number) => Math.min(3 ** tries / 100, 1) * (0.5 + Math.random() / 2)

/**
 * Who vanishes (its machine lost, the line cut) says no goodbye, and what its sessions have locked stays so until Postgres notices: after two
 * hours, if it was left to itself. Within 20 s it asks in vain often enough, and within 30 s ends a transaction that does nothing, as that of a
 * process which was stopped: when another attempt may be made (worker.lease).
 */
const noticed = { tcp_keepalives_idle: 10, tcp_keepalives_interval: 5, tcp_keepalives_count: 2, tcp_user_timeout: 20_000, idle_in_transaction_session_timeout: 30_000 }

/** Opens a pool. `connections` bounds it; nothing is connected before the first statement. `session`: settings of Postgres for its connections. */
export function openDatabase(url: string, connections: number, application = 'everpost', session: Record<string, string> = {}): Sql {
  return postgres(url, {
    max: connections,
    connect_timeout: connectTime,
    backoff: pauseBefore,
    idle_timeout: 0,
    onnotice: () => {},
    connection: { application_name: application, ...noticed, ...session },
    types: { bigint: { to: 20, from: [20], parse: Number, serialize: String } },
  })
}

/** host:port of each server that it may be, or the path of its socket. */
export function placeOf({ options: { host, port, path } }: Sql): string {
  return path ? String(path) : host.map((each, i) => `${each}:${port[i]}`).join(', ')
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

/**
 * What an error of a statement tells of the statement. Postgres refused it because of what was to be stored (`data`), or for whatever else
 * its state or its settings are (`refused`); or the connection went first: before the statement was sent (`unsent`), or nobody knows when
 * (`lost`); or this process has closed its pool (`closed`).
 */
type FailureKind = 'data' | 'refused' | 'unsent' | 'lost' | 'closed'

/**
 * By SQLSTATE: data exception, integrity constraint violation, program limit exceeded (as by a key too long); connection exception, and a
 * server that stops; one that starts.
 */
const bySqlState: [RegExp, FailureKind][] = [[/^(2[23]|54)/, 'data'], [/^(08|57P0[12])/, 'lost'], [/^57P03/, 'unsent'], [/^/, 'refused']]
/** By the code of the driver or the operating system, when it was not Postgres who said it. */
const byCode: [RegExp, FailureKind][] = [
  [/^CONNECTION_ENDED$/, 'closed'],
  [/^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|CONNECT_\w+|SASL_\w+)$/, 'unsent'],
  [/^(CONNECTION_\w+|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)$/, 'lost'],
]
/** Of any socket, or file: where there was nothing else than the statement, of its connection. */
const ofSystem = /^(E(?!RR_)[A-Z_]+$|ERR_(TLS|SSL)_)/

/** null: it is not known to be an error of the database. */
function failureOf(error: unknown): FailureKind | null {
  const { code, severity } = (error ?? {}) as { code?: unknown; severity?: string }
  if (typeof code !== 'string') return null
  return (severity === undefined ? byCode : bySqlState).find(([codes]) => codes.test(code))?.[1] ?? null
}

/** The same for an error of a statement and nothing else; null: it is a fault of ours. */
function failureOfStatement(error: unknown): FailureKind | null {
  const { code } = (error ?? {}) as { code?: unknown }
  return failureOf(error) ?? (typeof code === 'string' && ofSystem.test(code) ? 'lost' : null)
}

/** Whether it is the database that failed, rather than what was done with its answer. */
export function isDatabaseError(error: unknown): boolean {
  return failureOf(error) !== null
}

/** Whether the server has no room left on its disk (disk_full). */
export function isDiskFull(error: unknown): boolean {
  return (error as { code?: string }).code === '53100'
}

/** Whether the connection broke under the statement: nobody knows whether it was carried out. */
export function leavesOpen(error: unknown): boolean {
  return failureOfStatement(error) === 'lost'
}

/** Of an error of a statement: Postgres is not there (yet). Nobody answers for it, it starts or stops, or the connection broke. */
export function isAway(error: unknown): boolean {
  return ['unsent', 'lost'].includes(failureOfStatement(error)!)
}

/** What was seen of a Postgres that is away, for people. */
export function seenOf(error: unknown): string {
  const { code, message, errors = [], address, port } = error as NodeJS.ErrnoException & { errors?: Error[]; address?: unknown; port?: unknown }
  const server = address === undefined ? 'the server' : [address, port].join(':')
  if (code === 'CONNECT_CLOSED') return `${server} takes the connection and closes it`
  if (code === 'CONNECT_TIMEOUT') return `${server} says nothing for ${connectTime} s`
  // A name with several addresses: each has failed, and the whole says nothing.
  return message || errors.map((each) => each.message).join(', ')
}

/** Whether a row was kept by another transaction for longer than the statement may wait (lock_not_available). */
export function isRowTaken(error: unknown): boolean {
  return (error as { code?: string }).code === '55P03'
}

/** Whether what was to be stored is at fault, whatever the server's state. */
export function isOfData(error: unknown): boolean {
  return failureOf(error) === 'data'
}

function mayMend(error: unknown): boolean {
  const why = failureOfStatement(error)
  return why !== null && why !== 'data' && why !== 'closed'
}

/** Milliseconds between two complaints about a database that stays away. */
const complaining = 60_000

interface Patience {
  /** Milliseconds; left out: for ever. */
  limit?: number
  /** Whether another try may mend it; left out: whatever is not the fault of the data, nor ours. */
  mends?: (error: unknown) => boolean
  /** Told once a minute why it still fails. */
  complain?: (error: unknown) => void
}

/**
 * Does what must be done even when the database is away for a while, or does not let us in: repeats `work`, which must do no harm when it
 * is done twice. Throws at once what another try would not mend.
 */
export async function whenBack<T>(work: () => Promise<T>, { limit = Number.POSITIVE_INFINITY, mends = mayMend, complain }: Patience = {}): Promise<T> {
  const begun = performance.now()
  let complainAt = begun + complaining
  for (let pause = 50; ; pause = Math.min(pause * 2, 1000)) {
    try {
      return await work()
    } catch (error) {
      const now = performance.now()
      if (!mends(error) || now > begun + limit) throw error
      if (now > complainAt) {
        complain?.(error)
        complainAt = now + complaining
      }
      await sleep(pause)
    }
  }
}

/** Milliseconds of silence before the first word about a Postgres that is waited for, and between two. */
const firstWord = 1000
const nextWord = 5000

/**
 * Does what begins with a Postgres that may be just starting: waits for it, half a minute if nothing else is said, and tells meanwhile what was
 * seen of it. Throws the last error when it does not come, and at once what time does not mend, such as a wrong password.
 */
export async function whenThere<T>(work: () => Promise<T>, tell: (seen: string) => void, limit = 30_000): Promise<T> {
  let seen = 'no answer yet'
  const timers = [setTimeout(() => tell(seen), firstWord), setInterval(() => tell(seen), nextWord)]
  const look = () => work().catch((error) => {
    seen = seenOf(error)
    throw error
  })
  try {
    return await whenBack(look, { limit, mends: isAway })
  } finally {
    for (const timer of timers) clearInterval(timer)
  }
}
