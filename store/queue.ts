// The queue as operators see it: listings, and the facts on one message. Reads only.

import type { Outcome } from '../mail/outcome.ts'
import type { Sql } from './database.ts'

export interface QueueRow {
  id: string
  kind: 'mail' | 'dsn'
  reversePath: string
  size: number
  acceptedAt: Date
  expiresAt: Date
  /** Recipients not yet settled, and how many in all. */
  waiting: number
  recipients: number
  /** The first of those waiting, with its last outcome. */
  forwardPath: string
  outcome: Outcome | null
  nextAttemptAt: Date | null
  /** Attempts that hold recipients now. */
  active: boolean
}

/** Queued messages, oldest first, at most `limit`. */
export async function listQueue(sql: Sql, limit: number): Promise<QueueRow[]> {
  return await sql<QueueRow[]>`
    select m.id, m.kind, m.reverse_path as "reversePath", m.size, m.accepted_at as "acceptedAt", m.expires_at as "expiresAt",
           r.waiting, (select count(*) from recipients a where a.message_id = m.id) as recipients,
           f.forward_path as "forwardPath", f.outcome, r.next_attempt_at as "nextAttemptAt", r.active
    from (select * from messages where state = 'queued' order by accepted_at limit ${limit}) m
    cross join lateral (
      select count(*) as waiting, min(next_attempt_at) as next_attempt_at, coalesce(bool_or(leased_until > now()), false) as active
      from recipients where message_id = m.id and state in ('queued', 'bouncing')
    ) r
    left join lateral (
      select forward_path, outcome from recipients
      where message_id = m.id and state in ('queued', 'bouncing') order by next_attempt_at, n limit 1
    ) f on true
    order by m.accepted_at`
}

export async function countQueue(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select count(*) from messages where state = 'queued'`
  return row!.count
}

/** Queue ids of the reports on a message. */
export async function readReports(sql: Sql, id: string): Promise<{ id: string; acceptedAt: Date }[]> {
  return await sql<{ id: string; acceptedAt: Date }[]>`
    select id, accepted_at as "acceptedAt" from messages where parent = ${id} order by accepted_at`
}
