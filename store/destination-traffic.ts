// What came of the attempts at each destination, by the hour: rows that only one worker adds to. And what waits for it, beside.

import type { Sql } from './database.ts'

export interface Traffic {
  delivered: number
  deferred: number
  bounced: number
  lastAt: Date
  lastText: string
}

/** Adds to this worker's counts for the hour. */
export async function addTraffic(sql: Sql, worker: string, traffic: Map<string, Traffic>): Promise<void> {
  const rows = [...traffic.entries()].sort(([a], [b]) => (a < b ? -1 : 1))
  await sql`
    insert into destination_traffic as t (destination, worker, hour, delivered, deferred, bounced, last_at, last_text)
    select name, ${worker}, date_trunc('hour', now()), delivered, deferred, bounced, last_at, last_text
    from unnest(
      ${rows.map(([name]) => name)}::text[], ${rows.map(([, each]) => each.delivered)}::int[], ${rows.map(([, each]) => each.deferred)}::int[],
      ${rows.map(([, each]) => each.bounced)}::int[], ${rows.map(([, each]) => each.lastAt.toISOString())}::text[]::timestamptz[],
      ${rows.map(([, each]) => each.lastText)}::text[]
    ) as r (name, delivered, deferred, bounced, last_at, last_text)
    on conflict (destination, hour, worker) do update set delivered = t.delivered + excluded.delivered,
      deferred = t.deferred + excluded.deferred, bounced = t.bounced + excluded.bounced, last_at = excluded.last_at, last_text = excluded.last_text`
}

/** Forgets counts older than two days. */
export async function cleanTraffic(sql: Sql): Promise<void> {
  await sql`delete from destination_traffic where hour < now() - interval '2 days'`
}

export interface CommonReply {
  /** The reply, or what went wrong. */
  text: string
  recipients: number
}

/** What those that wait for a destination were last told, the five most frequent first; of very many, by a sample of 10,000. */
export async function repliesOf(sql: Sql, name: string): Promise<CommonReply[]> {
  return await sql<CommonReply[]>`
    select text, count(*)::int as recipients
    from (select left(outcome ->> 'text', 300) as text from recipients where destination = ${name} and state = 'queued' and outcome is not null limit 10000) told
    group by text order by count(*) desc, text limit 5`
}

export interface DestinationSummary {
  name: string
  /** Recipients that wait for it, and how many of them without a possible attempt. */
  queued: number
  waiting: number
  oldest: Date | null
  /** Recipients in this hour and the one before. */
  delivered: number
  deferred: number
  bounced: number
  lastAt: Date | null
  lastText: string | null
}

/** Destinations that recipients wait for, or that had traffic in this hour or the one before; the longest queue first. */
export async function summariseDestinations(sql: Sql, name: string | null = null): Promise<DestinationSummary[]> {
  return await sql<DestinationSummary[]>`
    with waiting as (
      select r.destination as name, count(*) as queued, count(r.waits) as waiting, min(m.accepted_at) as oldest
      from recipients r join messages m on m.id = r.message_id
      where r.state = 'queued' and r.destination is not null and (${name}::text is null or r.destination = ${name})
      group by r.destination
    ),
    traffic as (
      select destination as name, sum(delivered)::int as delivered, sum(deferred)::int as deferred, sum(bounced)::int as bounced, max(last_at) as last_at,
             (array_agg(last_text order by last_at desc))[1] as last_text
      from destination_traffic where hour >= date_trunc('hour', now()) - interval '1 hour' and (${name}::text is null or destination = ${name})
      group by destination
    )
    select name, coalesce(queued, 0) as queued, coalesce(waiting, 0) as waiting, oldest, coalesce(delivered, 0) as delivered,
           coalesce(deferred, 0) as deferred, coalesce(bounced, 0) as bounced, last_at as "lastAt", last_text as "lastText"
    from waiting full join traffic using (name) order by queued desc nulls last, name`
}
