// What the doctor asks Postgres: messages that nothing moves, settings that break the promise, its clock, and how much waits.

import { isLeased } from './conditions.ts'
import type { Sql } from './database.ts'

export interface Backlog {
  queued: number
  /** Accepted a while ago, and their workflow has never run. */
  unstarted: number
  oldestUnstarted: Date | null
  /** On hold: neither tried nor expired until somebody releases them. */
  held: number
  oldestHeld: Date | null
  /** Queued past their lifetime, though not on hold, and nothing of them is under way. */
  overExpired: number
  deadLetters: number
}

/** `grace`: milliseconds that starts and expiries may be late. */
export async function readBacklog(sql: Sql, grace: number): Promise<Backlog> {
  const [row] = await sql<Backlog[]>`
    select (select count(*) from messages where state = 'queued') as queued,
           count(*) filter (where started_at is null and accepted_at < now() - g.grace) as unstarted,
           min(accepted_at) filter (where started_at is null and accepted_at < now() - g.grace) as "oldestUnstarted",
           (select count(*) from messages where held_at is not null) as held, (select min(held_at) from messages) as "oldestHeld",
           (select count(*) from messages m where state = 'queued' and held_at is null and expires_at < now() - g.grace and not exists (
              select from recipients r where r.message_id = m.id and r.state = 'queued' and ${isLeased(sql)})) as "overExpired",
           (select count(*) from recipients where dead_letter and state in ('bounced', 'expired')) as "deadLetters"
    from (select ${grace}::float8 * interval '1 millisecond' as grace) g left join messages on started_at is null
    group by g.grace`
  return row!
}

/** Started messages of which something is to come: those first of which it is overdue, then the oldest. On hold, that is a report alone. */
export async function readStarted(sql: Sql, limit: number): Promise<{ id: string; overdue: boolean }[]> {
  return await sql<{ id: string; overdue: boolean }[]>`
    select id, drive_at < now() - interval '1 minute' or (held_at is null and exists (
      select from recipients r where r.message_id = m.id and r.state = 'queued' and r.next_attempt_at < now() - interval '3 minutes'
        and (r.leased_until is null or r.leased_until < now() - interval '3 minutes'))) as overdue
    from messages m
    where state = 'queued' and started_at < now() - interval '30 seconds' and (held_at is null or exists (
      select from recipients r where r.message_id = m.id and r.state in ('notifying', 'bouncing')))
    order by overdue desc nulls last, accepted_at limit ${limit}`
}

/** Those of the ids that are of no message. */
export async function unknownAmong(sql: Sql, ids: string[]): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`select id from unnest(${ids}::text[]) id where not exists (select from messages m where m.id = id.id) order by id`
  return rows.map(({ id }) => id)
}

export interface ServerFacts {
  now: Date
  /** Settings that would lose accepted mail, by name, with what they are. */
  unsafe: { name: string; setting: string }[]
  /** Where its data lies, if we may know. */
  dataDirectory: string | null
  connections: number
  maxConnections: number
}

export async function readServer(sql: Sql): Promise<ServerFacts> {
  const unsafe = await sql<ServerFacts['unsafe']>`
    select name, setting from pg_settings where name in ('fsync', 'full_page_writes', 'synchronous_commit') and setting = 'off'`
  const [row] = await sql<Omit<ServerFacts, 'unsafe'>[]>`
    select clock_timestamp() as now, (select setting from pg_settings where name = 'data_directory') as "dataDirectory",
           (select count(*) from pg_stat_activity where backend_type = 'client backend') as connections,
           current_setting('max_connections')::int as "maxConnections"`
  return { ...row!, unsafe: [...unsafe] }
}
