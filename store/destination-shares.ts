// Each worker's share of a destination's limit: rows that only one worker writes. Places of a limit on concurrency are leased, a handful
// at a time; an attempt asks no statement for its own.

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

/** Forgets what workers long gone have left. */
export async function cleanShares(sql: Sql): Promise<void> {
  await sql`delete from destination_shares where renewed_at < now() - interval '1 hour'`
}
