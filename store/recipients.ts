// Recipients: who is still owed a delivery, and how far the message as a whole has come.

import type { Notify } from '../mail/envelope.ts'
import type { Outcome } from '../mail/outcome.ts'
import type { Progress } from '../mail/progress.ts'
import { UnknownMessage } from '../mail/unknown-message.ts'
import { isFree, isLeased, isOpen } from './conditions.ts'
import type { Sql } from './database.ts'

export interface RecipientRow {
  n: number
  forwardPath: string
  domain: string
  notify: Notify[]
  orcpt: string | null
  /** Its own reverse-path; null: the message's. */
  verp: string | null
  state: 'queued' | 'delivered' | 'notifying' | 'bouncing' | 'bounced' | 'expired'
  attempts: number
  nextAttemptAt: Date
  leasedUntil: Date | null
  outcome: Outcome | null
  settledAt: Date | null
  deadLetter: boolean
  /** While no attempt is possible: why. */
  waits: string | null
  /** While queued: when a retry rule gives it up, before the queue lifetime ends. */
  givesUpAt: Date | null
}

export async function readRecipients(sql: Sql, id: string, limit: number): Promise<RecipientRow[]> {
  return await sql<RecipientRow[]>`
    select n, forward_path as "forwardPath", domain, notify, orcpt, verp, state, attempts, next_attempt_at as "nextAttemptAt",
           leased_until as "leasedUntil", outcome, settled_at as "settledAt", dead_letter as "deadLetter", waits, gives_up_at as "givesUpAt"
    from recipients where message_id = ${id} order by n limit ${limit}`
}

export interface DueRecipient extends Pick<RecipientRow, 'n' | 'domain'> {
  /** The next hop that an operator chose; null: by the routes. */
  route: string | null
}

/**
 * Recipients that are due at `clock` (or now, whichever is later: a workflow's clock and ours may differ), not held by a
 * live attempt, and not among `busy`; in envelope order, at most `limit`.
 */
export async function dueRecipients(sql: Sql, id: string, clock: Date, busy: number[], limit: number) {
  return await sql<DueRecipient[]>`
    select n, domain, route from recipients
    where message_id = (select id from messages where id = ${id} and held_at is null) and state = 'queued' and next_attempt_at <= greatest(now(), ${clock})
      and ${isFree(sql)} and n <> all(${busy}::int[])
    order by n limit ${limit}`
}

/** Beyond the end of every queue lifetime: what is on hold does not expire. */
const never = new Date('9999-12-31T00:00:00Z')

/** How far the message has come when the recipients in `except` are left out of `nextAt` and `leasedUntil`. */
export async function readProgress(sql: Sql, id: string, except: number[] = []): Promise<Progress> {
  const [row] = await sql<Omit<ProgressRow, 'id'>[]>`
    select expires_at as "expiresAt", held_at as "heldAt", open.*
    from messages, lateral (
      select count(*) filter (where state = 'queued') as queued,
             count(*) filter (where state <> 'queued') as unreported,
             min(next_attempt_at) filter (
               where state = 'queued' and ${isFree(sql)} and n <> all(${except}::int[])) as "nextAt",
             min(leased_until) filter (where state = 'queued' and ${isLeased(sql)} and n <> all(${except}::int[])) as "leasedUntil",
             (array_agg(array[destination, waits] order by next_attempt_at) filter (where state = 'queued' and waits is not null and destination is not null))[1:1] as waits
      from recipients where message_id = ${id} and ${isOpen(sql)}
    ) open
    where id = ${id}`
  if (!row) throw new UnknownMessage()
  return toProgress(row)
}

export interface ProgressRow {
  id: string
  queued: number
  unreported: number
  nextAt: Date | null
  leasedUntil: Date | null
  expiresAt: Date
  heldAt: Date | null
  waits?: [string, string][] | null
}

export function toProgress(row: Omit<ProgressRow, 'id'>): Progress {
  return {
    queued: row.queued,
    unreported: row.unreported,
    nextAt: row.heldAt ? null : (row.nextAt?.getTime() ?? null),
    leasedUntil: row.leasedUntil?.getTime() ?? null,
    expiresAt: (row.heldAt ? never : row.expiresAt).getTime(),
    heldAt: row.heldAt?.getTime() ?? null,
    waits: row.waits?.[0] ? { destination: row.waits[0][0], why: row.waits[0][1].slice(0, 200) } : null,
  }
}

export async function countRecipients(sql: Sql, id: string): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select count(*) from recipients where message_id = ${id}`
  return row!.count
}

/** Retention of bodies, in milliseconds: settings, retention. */
export interface Retention {
  delivered: number
  failed: number
}

/**
 * Brings the message row up to date with its recipients: finished when none is left, else driven a little after the
 * next thing is due, so that a lost workflow is noticed. To be called last in each transaction that changes
 * recipients, after lockMessage, which keeps two of them from each missing the other's change.
 */
export async function settleProgress(sql: Sql, id: string, retention: Retention): Promise<Progress> {
  const [row] = await sql<ProgressRow[]>`
    with open as (${openOf(sql, sql`${id}::text`)}), over as (${endAttempts(sql)}) ${settleMessage(sql, sql`id = ${id}`, retention)}`
  if (!row) throw new UnknownMessage()
  return toProgress(row)
}

/** The same for several messages. */
export async function settleAll(sql: Sql, ids: string[], retention: Retention): Promise<Map<string, Progress>> {
  const rows = await sql<ProgressRow[]>`
    with open as (select o.* from unnest(${ids}::text[]) as asked (id), lateral (${openOf(sql, sql`asked.id`)}) o),
      over as (${endAttempts(sql)})
    ${settleMessage(sql, sql`id = open.message_id`, retention)}`
  return new Map(rows.map((row) => [row.id, toProgress(row)]))
}

/** What is open of a message, as settleMessage takes it. */
function openOf(sql: Sql, id: ReturnType<Sql>) {
  return sql`
    select ${id} as message_id,
           count(*) filter (where state = 'queued') as queued,
           count(*) filter (where state <> 'queued') as unreported,
           min(next_attempt_at) filter (where state = 'queued' and ${isFree(sql)}) as next_at,
           min(leased_until) filter (where state = 'queued' and ${isLeased(sql)}) as leased_until,
           exists (select from recipients where message_id = ${id} and state in ('bounced', 'expired')) as failed,
           (array_agg(array[destination, waits] order by next_attempt_at) filter (where state = 'queued' and waits is not null and destination is not null))[1:1] as waits
    from recipients where message_id = ${id} and ${isOpen(sql)}`
}

/** Where nothing is `open` any more no later attempt finds out that one before it has died (claimAttempt): it is marked as lost here. */
function endAttempts(sql: Sql) {
  return sql`
    update attempts set ended_at = now(), lost = true from open
    where queued + unreported = 0 and attempts.message_id = open.message_id and ended_at is null`
}

/** The end of a statement that has found out what is `open`: brings the row of the message that is `meant` up to date with it, and returns a ProgressRow. */
export function settleMessage(sql: Sql, meant: ReturnType<Sql>, { failed, delivered }: Retention) {
  return sql`
    update messages set
      state = case when queued + unreported = 0 then 'finished' else 'queued' end,
      finished_at = case when queued + unreported = 0 then coalesce(finished_at, now()) end,
      body_release_at = case when queued + unreported = 0
                             then now() + case when failed then ${failed}::float8 else ${delivered}::float8 end * interval '1 millisecond' end,
      driven = 0,
      held_at = case when queued + unreported > 0 then held_at end,
      drive_at = case when queued + unreported > 0 and (held_at is null or unreported > 0)
                      then greatest(now(), least(next_at, leased_until)) + interval '2 minutes' end
    from open
    where ${meant}
    returning id, queued, unreported, next_at as "nextAt", leased_until as "leasedUntil", expires_at as "expiresAt", held_at as "heldAt", waits`
}

/** Takes the message for the rest of the transaction. Returns false when there is no such message. */
export async function lockMessage(sql: Sql, id: string): Promise<boolean> {
  const rows = await sql`select from messages where id = ${id} for no key update`
  return rows.length === 1
}

/** Brings the message row up to date, where whoever settled the last of its recipients has not. */
export async function finishMessage(sql: Sql, id: string, retention: Retention): Promise<void> {
  await sql.begin(async (transaction) => {
    const tx = transaction as unknown as Sql
    const [row] = await tx`select from messages where id = ${id} and state = 'queued' for no key update`
    if (row) await settleProgress(tx, id, retention)
  })
}
