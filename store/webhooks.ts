// Webhooks: what each still has to be told, in order for each message, and what was given up.

import type { EventKind } from '../mail/event-kinds.ts'
import type { Sql } from './database.ts'

/** Lets events be kept for these webhooks and no others. To be called when a worker starts. */
export async function subscribeWebhooks(sql: Sql, webhooks: { name: string; events?: EventKind[] | undefined }[]): Promise<void> {
  const names = webhooks.map((webhook) => webhook.name)
  await sql.begin(async (tx) => {
    await tx`delete from subscribers where kind = 'webhook' and name <> all(${names})`
    await tx`delete from webhook_queue where webhook <> all(${names})`
    for (const { name, events } of webhooks) {
      await tx`
        insert into subscribers (name, kind, events) values (${name}, 'webhook', ${events ?? null})
        on conflict (name) do update set events = excluded.events`
    }
  })
}

export interface WebhookDelivery {
  seq: number
  /** Counting this one. */
  attempts: number
  messageId: string
  at: Date
  event: EventKind
  detail: unknown
  /** Milliseconds since it happened. */
  age: number
}

/** So many rows are looked at for each that may be taken: a message has several events, of which one is next. */
const eventsEach = 10

/**
 * Takes what is due for a webhook, at most `limit`: for each message the oldest event that was neither taken nor given up. It is due again
 * after `lease` milliseconds, should this process die. Later events of its message are put off as long, and due once it is done with.
 * `more`: there may be more that is due.
 */
export async function claimDeliveries(sql: Sql, webhook: string, limit: number, lease: number): Promise<{ deliveries: WebhookDelivery[]; more: boolean }> {
  const looked = limit * eventsEach
  const rows = await sql<(WebhookDelivery & { first: boolean; due: number })[]>`
    with due as (
      select seq, message_id, next_at from webhook_queue where webhook = ${webhook} and next_at <= now() and dead_at is null
      order by next_at, seq limit ${looked} for update skip locked
    ),
    head as (
      select due.seq, h.seq = due.seq as first, h.next_at, row_number() over (partition by h.seq = due.seq order by due.next_at, due.seq) as place
      from due, lateral (
        select seq, next_at from webhook_queue where webhook = ${webhook} and message_id = due.message_id and dead_at is null order by seq limit 1) h
    ),
    claimed as (
      update webhook_queue q set attempts = attempts + first::int, next_at = greatest(now() + ${lease}::float8 * interval '1 millisecond', head.next_at)
      from head where q.webhook = ${webhook} and q.seq = head.seq and (not first or place <= ${limit})
      returning q.seq, q.attempts, first
    )
    select c.seq, c.attempts, c.first, (select count(*) from due) as due, e.message_id as "messageId", e.at, e.event, e.detail,
           extract(epoch from now() - e.at)::float8 * 1000 as age
    from claimed c join events e on e.seq = c.seq order by c.seq`
  const due = rows[0]?.due ?? 0
  return { deliveries: rows.filter((row) => row.first), more: due === looked || due > rows.length }
}

export async function deliveryTaken(sql: Sql, webhook: string, { seq, messageId }: WebhookDelivery): Promise<void> {
  await sql`
    with taken as (delete from webhook_queue where webhook = ${webhook} and seq = ${seq})
    ${nextIsDue(sql, webhook, seq, messageId)}`
}

/** `pause`: milliseconds until it is tried again, and what comes after it in its message is tried at all; null: given up. */
export async function deliveryFailed(sql: Sql, webhook: string, { seq, messageId }: WebhookDelivery, problem: string, pause: number | null): Promise<void> {
  if (pause === null) {
    await sql`
      with dead as (update webhook_queue set problem = ${problem}, dead_at = now() where webhook = ${webhook} and seq = ${seq})
      ${nextIsDue(sql, webhook, seq, messageId)}`
  } else {
    await sql`
      update webhook_queue set problem = case when seq = ${seq} then ${problem} else problem end,
        next_at = now() + ${pause}::float8 * interval '1 millisecond'
      where webhook = ${webhook} and message_id = ${messageId} and seq >= ${seq} and dead_at is null`
  }
}

/**
 * Gives up whatever is older than `lifetime` milliseconds and not being posted, tried or not: to be called when one as old (`tried`) was
 * posted again in vain, before it is given up itself. `lease`: as it was claimed with. Returns how many events.
 */
export async function giveUpOld(
  sql: Sql, webhook: string, tried: WebhookDelivery, { lifetime, lease, problem }: { lifetime: number; lease: number; problem: string },
): Promise<number> {
  // Whose lease runs may be under way; not so those that wait for this one.
  const rows = await sql<{ messageId: string }[]>`
    with old as (
      select q.seq from webhook_queue q join events e on e.seq = q.seq
      where q.webhook = ${webhook} and q.dead_at is null and e.at < now() - ${lifetime}::float8 * interval '1 millisecond'
        and (q.next_at <= now() or q.next_at > now() + ${lease}::float8 * interval '1 millisecond' or (q.message_id = ${tried.messageId} and q.seq > ${tried.seq}))
      for update of q skip locked
    )
    update webhook_queue q set dead_at = now(), problem = coalesce(q.problem, ${problem}) from old
    where q.webhook = ${webhook} and q.seq = old.seq returning q.message_id as "messageId"`
  // What is younger in these messages waited for them; a lease, its own or that of one before it, ends by itself.
  const messages = [...new Set(rows.map(({ messageId }) => messageId))]
  await sql`
    update webhook_queue set next_at = now()
    where webhook = ${webhook} and message_id = any(${messages}) and dead_at is null and next_at > now() + ${lease}::float8 * interval '1 millisecond'`
  return rows.length
}

function nextIsDue(sql: Sql, webhook: string, seq: number, messageId: string) {
  return sql`
    update webhook_queue set next_at = now() where webhook = ${webhook} and seq = (
      select min(seq) from webhook_queue where webhook = ${webhook} and message_id = ${messageId} and seq > ${seq} and dead_at is null)`
}

export interface WebhookRow {
  name: string
  waiting: number
  oldest: Date | null
  dead: number
  problem: string | null
}

export async function listWebhooks(sql: Sql): Promise<WebhookRow[]> {
  return await sql<WebhookRow[]>`
    select s.name, count(q.seq) filter (where q.dead_at is null) as waiting, min(e.at) filter (where q.dead_at is null) as oldest,
           count(q.dead_at) as dead, (array_agg(q.problem order by q.next_at desc) filter (where q.problem is not null))[1] as problem
    from subscribers s left join webhook_queue q on q.webhook = s.name left join events e on e.seq = q.seq
    where s.kind = 'webhook' group by s.name order by s.name`
}

export interface DeadDelivery extends Omit<WebhookDelivery, 'detail' | 'age'> {
  webhook: string
  problem: string
  deadAt: Date
}

/** What was given up, newest first. */
export async function deadDeliveries(sql: Sql, limit: number): Promise<DeadDelivery[]> {
  return await sql<DeadDelivery[]>`
    select q.webhook, q.seq, q.attempts, q.message_id as "messageId", e.at, e.event, q.problem, q.dead_at as "deadAt"
    from webhook_queue q join events e on e.seq = q.seq where dead_at is not null order by dead_at desc limit ${limit}`
}

/** Lets what was given up be tried again; returns how many. */
export async function reviveDeliveries(sql: Sql): Promise<number> {
  const rows = await sql`update webhook_queue set dead_at = null, attempts = 0, next_at = now() where dead_at is not null returning seq`
  return rows.length
}

/** Forgets what was given up more than `kept` milliseconds ago, at most `limit`. Its events go with the other old ones. */
export async function discardDead(sql: Sql, kept: number, limit: number): Promise<number> {
  const rows = await sql`
    delete from webhook_queue where (webhook, seq) in (
      select webhook, seq from webhook_queue where dead_at < now() - ${kept}::float8 * interval '1 millisecond' order by seq limit ${limit}
    ) returning seq`
  return rows.length
}
