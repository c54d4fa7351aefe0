// Events: what happened to messages, written by the database itself while anyone subscribes (migrations/004_operator.sql).

import type { EventKind } from '../mail/event-kinds.ts'
import type { Sql } from './database.ts'

export interface EventRow {
  /** Where a stream goes on after this one: `cursorPattern`. */
  cursor: string
  seq: number
  messageId: string
  at: Date
  event: EventKind
  detail: Record<string, unknown>
}

export const cursorPattern = /^\d{1,20}-\d{1,19}$/

/** Keeps events coming to a stream for another `seconds`. */
export async function renewStream(sql: Sql, name: string, seconds: number): Promise<void> {
  await sql`
    insert into subscribers (name, kind, until) values (${name}, 'stream', now() + ${seconds}::float8 * interval '1 second')
    on conflict (name) do update set until = excluded.until`
}

export async function endStream(sql: Sql, name: string): Promise<void> {
  await sql`delete from subscribers where name = ${name} and kind = 'stream'`
}

/** Where a stream begins that wants only what comes from now on. */
export async function presentCursor(sql: Sql): Promise<string> {
  const [row] = await sql<{ cursor: string }[]>`select pg_snapshot_xmin(pg_current_snapshot())::text || '-0' as cursor`
  return row!.cursor
}

/** Whether the cursor is of no event that this database has had: it is of another cluster, or of a later state. What follows it would not come. */
export async function isAhead(sql: Sql, cursor: string): Promise<boolean> {
  const [row] = await sql<{ ahead: boolean }[]>`select ${cursor.split('-')[0]!}::text::xid8 > pg_snapshot_xmax(pg_current_snapshot()) as ahead`
  return row!.ahead
}

/**
 * Events after the cursor, at most `limit`, in an order in which nothing comes later that belongs before: a transaction
 * that is still open holds back those that began after it.
 */
export async function readEvents(sql: Sql, cursor: string, limit: number, messageId?: string): Promise<EventRow[]> {
  const [transaction, seq] = cursor.split('-') as [string, string]
  return await sql<EventRow[]>`
    select transaction::text || '-' || seq as cursor, seq, message_id as "messageId", at, event, detail from events
    where (transaction, seq) > (${transaction}::text::xid8, ${seq}::text::bigint) and transaction < pg_snapshot_xmin(pg_current_snapshot())
      ${messageId === undefined ? sql`` : sql`and message_id = ${messageId}`}
    order by transaction, seq limit ${limit}`
}

/** The event up to which the old ones were looked at. */
export interface Looked {
  at: string
  seq: number
}

/**
 * Forgets streams that ended without a word, and events older than `kept` milliseconds that no webhook still owes or gave up; it looks at the
 * next `limit` of that age after those that were looked at before. Returns up to which; null: there were fewer.
 */
export async function discardEvents(sql: Sql, kept: number, limit: number, before: Looked | null): Promise<Looked | null> {
  await sql`delete from subscribers where until < now()`
  const rows = await sql<Looked[]>`
    with old as (
      select seq, at from events
      where at < now() - ${kept}::float8 * interval '1 millisecond' and (at, seq) > (${before?.at ?? '-infinity'}::text::timestamptz, ${before?.seq ?? 0}::bigint)
      order by at, seq limit ${limit}
    ),
    gone as (
      delete from events e using old where e.seq = old.seq and not exists (select from webhook_queue q where q.seq = e.seq)
    )
    select at::text, seq from old order by old.at, seq offset ${limit - 1}`
  return rows[0] ?? null
}
