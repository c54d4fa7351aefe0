// Destinations: suspensions, limits and circuits, and what waits for them. Every change is notified, so that all workers see it at once.

import { isDeepStrictEqual } from 'node:util'
import type { Progress } from '../mail/progress.ts'
import { postgresTime } from './clock.ts'
import { isFree, isOpen } from './conditions.ts'
import { type Sql, whenBack } from './database.ts'
import { lockMessage, type Retention, settleProgress } from './recipients.ts'

export const destinationsChannel = 'everpost_destinations'

export interface DestinationRow {
  name: string
  suspendedUntil: Date | null
  suspendedBy: string
  suspendedWhy: string
  suspendedAt: Date | null
  concurrency: number | null
  rate: number | null
  circuitUntil: Date | null
  circuitStep: number
  circuitSince: Date | null
  circuitWhy: string
  probeUntil: Date | null
}

/** Every destination with a row of its own, or the one of this name. */
export async function readDestinations(sql: Sql, name: string | null = null): Promise<DestinationRow[]> {
  return await sql<DestinationRow[]>`
    select name, suspended_until as "suspendedUntil", suspended_by as "suspendedBy", suspended_why as "suspendedWhy",
           suspended_at as "suspendedAt", concurrency, rate, circuit_until as "circuitUntil", circuit_step as "circuitStep",
           circuit_since as "circuitSince", circuit_why as "circuitWhy", probe_until as "probeUntil"
    from destinations where ${name}::text is null or name = ${name}`
}

/**
 * A destination's name as it is known, however it was typed: from its row, its traffic, the mail that waits for it, or a domain that
 * mail waits for. One of which nothing is known is in lower case, as all but what settings name are.
 */
export async function canonicalName(sql: Sql, given: string): Promise<{ name: string; known: boolean }> {
  const lower = given.toLowerCase()
  const [row] = await sql<{ name: string }[]>`
    select name from (
      select name from destinations union select destination from destination_traffic
      union select destination from recipients where state = 'queued' and destination is not null
      union select ${lower}::text where exists (
        select from recipients where ${isOpen(sql)} and domain collate "C" = ${lower})
    ) as those where lower(name) = ${lower} order by name = ${given} desc limit 1`
  return { name: row?.name ?? lower, known: row !== undefined }
}

/** An operator's suspension, for `time` milliseconds: what waits for the end of a longer one comes back after this one, spread over `spread` milliseconds. */
export async function suspendByWord(sql: Sql, name: string, { time, who, why, spread }: { time: number; who: string; why: string; spread: number }): Promise<void> {
  await suspendDestination(sql, name, time, who, why)
  await releaseWaiting(sql, name, spread, time)
}

/** `time`: milliseconds. `lengthen`: a suspension that lasts longer stays as it is, since it is another's word. */
export async function suspendDestination(sql: Sql, name: string, time: number, by: string, why: string, lengthen = false): Promise<void> {
  await sql`
    with changed as (
      insert into destinations (name, suspended_until, suspended_by, suspended_why, suspended_at)
      values (${name}, now() + ${time}::float8 * interval '1 millisecond', ${by}, ${why}, now())
      on conflict (name) do update set suspended_until = excluded.suspended_until, suspended_by = excluded.suspended_by,
        suspended_why = excluded.suspended_why, suspended_at = now()
      where not ${lengthen} or destinations.suspended_until is null or destinations.suspended_until < excluded.suspended_until
      returning name
    )
    select pg_notify(${destinationsChannel}, name) from changed`
}

/** Ends a suspension, and closes the circuit if it is open: attempts may be made at once. Says who did it, and when. */
export async function resumeDestination(sql: Sql, name: string, by: string): Promise<void> {
  await sql`
    with changed as (
      update destinations set suspended_until = null, suspended_by = ${by}, suspended_why = '', suspended_at = now(),
        circuit_until = null, circuit_step = 0, circuit_since = null, circuit_why = '', probe_until = null
      where name = ${name} returning name
    )
    select pg_notify(${destinationsChannel}, name) from changed`
}

export interface DestinationLimit {
  concurrency: number | null
  rate: number | null
}

/** Null takes a limit away; one that is not given stays. Returns what holds now. */
export async function limitDestination(sql: Sql, name: string, limit: Partial<DestinationLimit>): Promise<DestinationLimit> {
  const [{ concurrency, rate }] = await sql<[DestinationLimit]>`
    with changed as (
      insert into destinations as d (name, concurrency, rate) values (${name}, ${limit.concurrency ?? null}, ${limit.rate ?? null})
      on conflict (name) do update set concurrency = case when ${limit.concurrency === undefined} then d.concurrency else excluded.concurrency end,
        rate = case when ${limit.rate === undefined} then d.rate else excluded.rate end
      returning name, concurrency, rate
    )
    select pg_notify(${destinationsChannel}, name), concurrency, rate from changed`
  return { concurrency, rate }
}

/**
 * Opens the circuit, or opens it again for longer after a probe that failed: the pause doubles from `first` to `most`
 * milliseconds. Of several workers that see the failure at once, one does it.
 */
export async function openCircuit(sql: Sql, name: string, pause: { first: number; most: number }, why: string): Promise<void> {
  await sql`
    with changed as (
      insert into destinations as d (name, circuit_until, circuit_step, circuit_since, circuit_why)
      values (${name}, now() + ${pause.first}::float8 * interval '1 millisecond', 1, now(), ${why})
      on conflict (name) do update set
        circuit_step = d.circuit_step + 1, circuit_since = coalesce(d.circuit_since, now()), circuit_why = excluded.circuit_why, probe_until = null,
        circuit_until = now() + least(${pause.first}::float8 * power(2, least(d.circuit_step, 30)), ${pause.most}::float8) * interval '1 millisecond'
      where d.circuit_until is null or d.circuit_until <= now()
      returning name
    )
    select pg_notify(${destinationsChannel}, name) from changed`
}

/**
 * Takes the one probe that an open circuit allows, once its pause is over, for at most `time` milliseconds unless it is renewed. What
 * it returns tells this claim from those of others; null: another has it.
 */
export async function claimProbe(sql: Sql, name: string, time: number): Promise<string | null> {
  const [row] = await sql<{ claim: string }[]>`
    update destinations set probe_until = now() + ${time}::float8 * interval '1 millisecond'
    where name = ${name} and circuit_until <= now() and (probe_until is null or probe_until <= now()) returning probe_until::text as claim`
  return row?.claim ?? null
}

/** Keeps a claim for another `time` milliseconds. Returns what it is from now on; null when it is another's by now, or no longer needed. */
export async function renewProbe(sql: Sql, name: string, claim: string, time: number): Promise<string | null> {
  const [row] = await sql<{ claim: string }[]>`
    update destinations set probe_until = now() + ${time}::float8 * interval '1 millisecond'
    where name = ${name} and probe_until::text = ${claim} returning probe_until::text as claim`
  return row?.claim ?? null
}

/** A probe that came to no verdict: the next may go. */
export async function releaseProbe(sql: Sql, name: string, claim: string): Promise<void> {
  await sql`update destinations set probe_until = null where name = ${name} and probe_until::text = ${claim}`
}

export async function closeCircuit(sql: Sql, name: string): Promise<void> {
  await sql`
    with changed as (
      update destinations set circuit_until = null, circuit_step = 0, circuit_since = null, circuit_why = '', probe_until = null
      where name = ${name} returning name
    )
    select pg_notify(${destinationsChannel}, name) from changed`
}

/**
 * Lets what waits for a destination come, the oldest first, spread over so many milliseconds, from `after` milliseconds on: each recipient is
 * due at its time, if it was not sooner, and the outbox wakes its workflow then. Returns how many messages wait. In pages, so that
 * nothing else waits long for their locks; two at once share the work.
 */
export async function releaseWaiting(sql: Sql, name: string, spread: number, after = 0): Promise<number> {
  const rows = await sql<{ id: string; begun: Date; far: boolean }[]>`
    select message_id as id, now() as begun, bool_or(next_attempt_at > now() + ${after + spread}::float8 * interval '1 millisecond') as far
    from recipients where destination = ${name} and state = 'queued' and waits is not null group by message_id order by message_id`
  const ids = rows.filter(({ far }) => far).map(({ id }) => id)
  for (let done = 0; done < ids.length; done += page) {
    const at = (place: number) => new Date(rows[0]!.begun.getTime() + after + (spread * Math.min(place, ids.length)) / ids.length)
    // Repeated should it and another lock the same messages in another order.
    await whenBack(() => releasePage(sql, name, ids.slice(done, done + page), at(done), at(done + page)), { limit: 10_000 })
  }
  return rows.length
}

/** Messages whose rows are locked at a time. */
const page = 1000

async function releasePage(sql: Sql, name: string, ids: string[], from: Date, to: Date): Promise<void> {
  await sql.begin(async (tx) => {
    await tx`select from messages where id = any(${ids}) order by id for no key update`
    // Found by their messages alone, whatever Postgres thinks of how many wait for the destination. Those of one message have one time.
    await tx`
      with those as materialized (
        select message_id, n, destination, waits, next_attempt_at from recipients where message_id = any(${ids}) and state = 'queued'
      ),
      due as (
        update recipients r set next_attempt_at = ${from}::timestamptz + (hashtext(t.message_id) & 1023) / 1024.0 * (${to}::timestamptz - ${from}::timestamptz)
        from those t
        where t.destination = ${name} and t.waits is not null and t.next_attempt_at > ${to} and r.message_id = t.message_id and r.n = t.n
        returning r.message_id, r.next_attempt_at as at
      )
      update messages m set drive_at = least(m.drive_at, due.at) from due where m.id = due.message_id and m.state = 'queued' and m.held_at is null`
  })
}

/**
 * Destinations that were resumed lately, and that mail waits for longer than a limit makes any wait: whoever resumed them has died before
 * all was called back.
 */
export async function resumedInPart(sql: Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select name from destinations d
    where suspended_until is null and circuit_until is null and suspended_at > now() - interval '1 hour' and exists (
      select from recipients r where r.destination = d.name and r.state = 'queued' and r.waits is not null and r.next_attempt_at > now() + interval '65 minutes')`
  return rows.map(({ name }) => name)
}

/**
 * Forgets destinations that say nothing any more: no limit, no suspension, and a circuit that is closed, or that nobody has probed for
 * days and no mail waits for. Who suspended or resumed one is kept for a week.
 */
export async function cleanDestinations(sql: Sql): Promise<void> {
  await sql`
    delete from destinations d
    where concurrency is null and rate is null and coalesce(greatest(suspended_until, suspended_at), '-infinity') < now() - interval '7 days'
      and (circuit_until is null or (circuit_until < now() - interval '2 days' and coalesce(probe_until, '-infinity') < now() - interval '2 days'
        and not exists (select from recipients r where r.destination = d.name and r.state = 'queued')))`
}

export interface PutOff {
  id: string
  recipients: number[]
  /** As an attempt's: ClaimRequest. Who goes another way since is left as they are, and is due. */
  route: string | null | undefined
  /** The name that refused: a destination's, or a next hop's. */
  destination: string
  /** One line for people. */
  why: string
  until: Date
  /** The destination as it was known to whoever refused; undefined: as one without a row. */
  seen: DestinationRow | undefined
  /** The workflow's; it may be ahead of the database's. */
  clock: Date
  retention: Retention
}

/** Milliseconds until a worker knows for certain what a destination is like by now. */
const soon = 3000

/**
 * Puts recipients off without an attempt: their backoff does not advance. The last look is at the end of the lifetime; whom a rule gives
 * up sooner is given up then, since no attempt is possible.
 */
export async function putOffRecipients(sql: Sql, request: PutOff): Promise<Progress> {
  const progress = await putOff(sql, request)
  // Whoever changes a destination calls back what waits for it by then. What came too late for that comes soon: it is looked at after the
  // commit, so that one of the two sees the other. A lock on the row would be in the way of its probes.
  const [now] = await readDestinations(sql, request.destination)
  return sameWord(request.seen, now) ? progress : await putOff(sql, { ...request, until: new Date(Math.max(postgresTime(), request.clock.getTime()) + soon) })
}

/** Whether the same is to be kept to: limits, the suspension and the circuit. */
function sameWord(before: DestinationRow | undefined, now: DestinationRow | undefined): boolean {
  const word = (row: DestinationRow | undefined) => [row?.suspendedUntil?.getTime(), row?.circuitUntil?.getTime(), row?.concurrency, row?.rate].map((part) => part ?? null)
  return isDeepStrictEqual(word(before), word(now))
}

async function putOff(sql: Sql, { id, recipients, route, destination, why, until, clock, retention }: PutOff): Promise<Progress> {
  return await sql.begin(async (transaction) => {
    const tx = transaction as unknown as Sql
    await lockMessage(tx, id)
    await tx`
      update recipients r set
        state = case when r.gives_up_at <= c.at then 'bouncing' else r.state end,
        outcome = case when r.gives_up_at <= c.at then r.outcome || '{"givenUp": true}' else r.outcome end,
        destination = case when r.gives_up_at <= c.at then null else ${destination}::text end,
        waits = case when r.gives_up_at <= c.at then null else ${why}::text end,
        next_attempt_at = case when least(m.expires_at, r.gives_up_at) > c.at then least(${until}, m.expires_at, r.gives_up_at) else ${until} end
      from messages m, (select greatest(now(), ${clock}) as at) c
      where m.id = ${id} and r.message_id = m.id and r.n = any(${recipients}::int[]) and r.state = 'queued'
        and ${isFree(tx)}
        and (${route === undefined} or r.route is not distinct from ${route ?? null})`
    return await settleProgress(tx, id, retention)
  })
}
