// The queue as operators see it: listings, and the facts on one message. Reads only.

import type { Outcome } from '../mail/outcome.ts'
import { isLeased, isOpen } from './conditions.ts'
import type { Sql } from './database.ts'
import { choosesMessages, matching, matchingMessage, matchingRecipient, type QueueFilter } from './filter.ts'

export interface QueueRow {
  id: string
  kind: 'mail' | 'dsn'
  reversePath: string
  /** Who submitted it: an authenticated user, or `token:` and a token's name. */
  user: string | null
  /** The address of the client that handed it to us; "" where there was none. */
  client: string
  size: number
  acceptedAt: Date
  expiresAt: Date
  /** Recipients not yet settled, and how many in all. */
  waiting: number
  recipients: number
  /** The first of those waiting, with its last outcome; null while only a report is due. */
  forwardPath: string | null
  outcome: Outcome | null
  /** While no attempt is possible: why. */
  waits: string | null
  nextAttemptAt: Date | null
  /** Attempts that hold recipients now. */
  active: boolean
  held: boolean
}

export type QueueOrder = 'age' | 'newest' | 'size' | 'sender' | 'next'
export const queueOrders: QueueOrder[] = ['age', 'newest', 'size', 'sender', 'next']

export interface QueuePage {
  limit: number
  /** Rows to leave out first. */
  offset?: number
  /** age: oldest first; size: largest first; next: whose attempt comes first. */
  order?: QueueOrder
  filter?: QueueFilter
}

/** Recipients read for each message of a page by next attempt: a page in which messages have more may come out short. */
const recipientsOfPage = 20

/** A page of the queued messages. */
export async function listQueue(sql: Sql, { limit, offset = 0, order = 'age', filter = {} }: QueuePage): Promise<QueueRow[]> {
  return await sql<QueueRow[]>`
    select m.id, m.kind, m.reverse_path as "reversePath", m.origin ->> 'user' as "user", m.origin ->> 'clientAddress' as client, m.size, m.accepted_at as "acceptedAt", m.expires_at as "expiresAt",
           m.held_at is not null as held, r.waiting, (select count(*) from recipients a where a.message_id = m.id) as recipients,
           f.forward_path as "forwardPath", f.outcome, f.waits, r.next_attempt_at as "nextAttemptAt", r.active
    from (
      select id, row_number() over () as place
      from (${order === 'next' ? byNextAttempt(sql, filter, offset + limit) : inOrder(sql, filter, order)} limit ${limit} offset ${offset}) m
    ) p
    join messages m on m.id = p.id
    cross join lateral (
      select count(*) as waiting, min(next_attempt_at) as next_attempt_at, coalesce(bool_or(${isLeased(sql)}), false) as active
      from recipients where message_id = m.id and ${isOpen(sql)}
    ) r
    left join lateral (
      select forward_path, outcome, waits from recipients
      where message_id = m.id and ${isOpen(sql)} order by next_attempt_at, n limit 1
    ) f on true
    order by p.place`
}

/** Nothing but ids: what is joined and sorted stays small, however much waits. */
function inOrder(sql: Sql, filter: QueueFilter, order: Exclude<QueueOrder, 'next'>) {
  const by = {
    age: sql`m.accepted_at, m.id`, newest: sql`m.accepted_at desc, m.id desc`, size: sql`m.size desc, m.id`,
    sender: sql`lower(m.reverse_path collate "C"), m.id collate "C"`,
  }[order]
  return sql`select m.id from messages m where ${matching(sql, filter)} order by ${by}`
}

/** By the recipients alone, where the filter says nothing of the message: an open recipient is that of a queued one. */
function byNextAttempt(sql: Sql, filter: QueueFilter, most: number) {
  return sql`
    select message_id as id from (
      select r.message_id, r.next_attempt_at from recipients r
      where ${matchingRecipient(sql, filter)} ${choosesMessages(filter) ? sql`and exists (select from messages m where m.id = r.message_id and ${matchingMessage(sql, filter)})` : sql``}
      order by r.next_attempt_at limit ${most * recipientsOfPage}
    ) r group by message_id order by min(next_attempt_at), message_id`
}

export interface QueueCounts {
  messages: number
  held: number
}

export async function countQueue(sql: Sql): Promise<QueueCounts> {
  const [row] = await sql<QueueCounts[]>`
    select (select count(*) from messages where state = 'queued') as messages, (select count(*) from messages where held_at is not null) as held`
  return row!
}

/** Queue ids of the reports on a message. */
export async function readReports(sql: Sql, id: string): Promise<{ id: string; acceptedAt: Date }[]> {
  return await sql<{ id: string; acceptedAt: Date }[]>`
    select id, accepted_at as "acceptedAt" from messages where parent = ${id} order by accepted_at`
}
