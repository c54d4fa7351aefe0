// Webhooks: what each still has to be told, in order for each message, and what was given up.

import type { Sql } from './database.ts'
import type { EventKind } from './events.ts'

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

export interface Delivery {
  webhook: string
  seq: number
  /** Counting this one. */
  attempts: number
  messageId: string
  at: Date
  event: EventKind
  detail: unknown
}

/**
 * Takes what is due, at most `limit`: for each message the oldest event that its webhook has not taken or that was not
 * given up. It is due again after `lease` milliseconds, should this process die.
 */
export async function claimDeliveries(sql: Sql, limit: number, lease: number): Promise<Delivery[]> {
  return await sql<Delivery[]>`
    with due as (
      select webhook, seq from webhook_queue q
      where next_at <= now() and dead_at is null and not exists (
        select from webhook_queue e where e.webhook = q.webhook and e.message_id = q.message_id and e.seq < q.seq and e.dead_at is null)
      order by next_at limit ${limit} for update skip locked
    ),
    claimed as (
      update webhook_queue q set attempts = attempts + 1, next_at = now() + ${lease}::float8 * interval '1 millisecond'
      from due where q.webhook = due.webhook and q.seq = due.seq
      returning q.webhook, q.seq, q.attempts
    )
    select c.webhook, c.seq, c.attempts, e.message_id as "messageId", e.at, e.event, e.detail from claimed c join events e on e.seq = c.seq`
}

export async function deliveryTaken(sql: Sql, { webhook, seq }: Delivery): Promise<void> {
  await sql`delete from webhook_queue where webhook = ${webhook} and seq = ${seq}`
}

/** `pause`: milliseconds until it is tried again; null: given up. */
export async function deliveryFailed(sql: Sql, { webhook, seq }: Delivery, problem: string, pause: number | null): Promise<void> {
  await sql`
    update webhook_queue set problem = ${problem}, dead_at = ${pause === null ? sql`now()` : null},
      next_at = now() + ${pause ?? 0}::float8 * interval '1 millisecond'
    where webhook = ${webhook} and seq = ${seq}`
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

export interface DeadDelivery extends Omit<Delivery, 'detail'> {
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
