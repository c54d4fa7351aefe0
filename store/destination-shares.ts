// Each worker's share of a destination's limit, and its count of what came of the attempts: rows that only one worker writes. Places
// of a limit on concurrency are leased, a handful at a time; an attempt asks no statement for its own.

import type { Sql } from './database.ts'

/** A worker that has not renewed its row for so many milliseconds has no part in a limit any more. */
export const shareLives = 4000
/** Sets these advisory locks apart from others. */
const lockSpace = 20_257

export interface ShareRow {
  destination: string
  worker: string
  /** Attempts that it could make, at most as many as the limit allows. */
  wants: number
  /** Places of the limit on concurrency that it holds. */
  places: number
}

/** Told when a worker has given places back, or wants some: the worker, a blank, and the name of the destination. */
export const sharesChannel = 'everpost_shares'

export interface ShareAsk extends Pick<ShareRow, 'wants' | 'places'> {
  /** The other workers are to be told. */
  tell: boolean
}

/**
 * Says what this worker could use of each of the destinations, and takes or gives back places: `decide` is given the destination's
 * rows of the other workers that live, while nobody else changes them. Returns those rows.
 */
export async function renewShares(sql: Sql, worker: string, names: string[], decide: (name: string, others: ShareRow[]) => ShareAsk): Promise<ShareRow[]> {
  return await sql.begin(async (tx) => {
    // A lock for each destination, held for one more statement, and in the same order by all: no two workers take the same place.
    const [, , others] = await Promise.all([
      // A worker that is stopped just here, or cut off, must not keep the others waiting: the server ends its transaction.
      tx`select set_config('idle_in_transaction_session_timeout', '2s', true), set_config('lock_timeout', '3s', true)`,
      tx`select pg_advisory_xact_lock(${lockSpace}, hashtext(name)) from (select name from unnest(${names}::text[]) as given (name) order by hashtext(name)) as sorted`,
      tx<ShareRow[]>`
        select destination, worker, wants, places from destination_shares
        where destination = any(${names}::text[]) and worker <> ${worker} and renewed_at > now() - ${shareLives}::float8 * interval '1 millisecond'`,
    ])
    const asks = names.map((name) => decide(name, others.filter((row) => row.destination === name)))
    await tx`
      with renewed as (
        insert into destination_shares (destination, worker, wants, places)
        select name, ${worker}, wants, places
        from unnest(${names}::text[], ${asks.map((ask) => ask.wants)}::int[], ${asks.map((ask) => ask.places)}::int[]) as mine (name, wants, places)
        on conflict (destination, worker) do update set wants = excluded.wants, places = excluded.places, renewed_at = clock_timestamp()
      )
      select pg_notify(${sharesChannel}, ${`${worker} `} || name) from unnest(${names.filter((_, i) => asks[i]!.tell)}::text[]) as told (name)`
    return others
  }) as ShareRow[]
}

/** Takes no part in any limit any more. */
export async function leaveShares(sql: Sql, worker: string): Promise<void> {
  await sql`
    with left_now as (delete from destination_shares where worker = ${worker} returning destination)
    select pg_notify(${sharesChannel}, ${`${worker} `} || destination) from left_now`
}

/** Forgets what workers long gone have left, and counts older than two days. */
export async function cleanShares(sql: Sql): Promise<void> {
  await sql`
    with shares as (delete from destination_shares where renewed_at < now() - interval '1 hour')
    delete from destination_traffic where hour < now() - interval '2 days'`
}

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

export interface Told {
  /** The reply, or what went wrong. */
  text: string
  recipients: number
}

/** What those that wait for a destination were last told, the five most frequent first; of very many, by a sample of 10,000. */
export async function repliesOf(sql: Sql, name: string): Promise<Told[]> {
  return await sql<Told[]>`
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
