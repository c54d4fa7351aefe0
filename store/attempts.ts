// Attempts: who tries to hand on which recipients, since when, and what came of it. The lease keeps two attempts apart.

import type { AttemptResult, HostTry, Outcome } from '../mail/outcome.ts'
import type { Progress } from '../mail/progress.ts'
import type { Ruled } from '../mail/retry.ts'
import { isFree, isLeased } from './conditions.ts'
import type { Sql } from './database.ts'
import { type ProgressRow, type RecipientRow, type Retention, settleMessage, settleProgress, toProgress } from './recipients.ts'

export interface Claim {
  /** Unique in its message, counting from 1. */
  number: number
  /** Of the message: what the log says of the attempt, and when its queue lifetime ends. */
  reversePath: string
  acceptedAt: Date
  expiresAt: Date
  begunAt: Date
  recipients: ClaimedRecipient[]
}

export interface ClaimedRecipient extends Pick<RecipientRow, 'n' | 'forwardPath' | 'notify' | 'orcpt' | 'verp' | 'attempts'> {
  /** What the retry rules have decided so far. */
  ruledBefore: Ruled
}

export interface ClaimRequest {
  id: string
  nextHop: string
  recipients: number[]
  /** The next hop that an operator had chosen for them, or none, when the attempt was planned; undefined: not known, and not checked. */
  route: string | null | undefined
  /** The process that tries; shown to operators. */
  worker: string
  /** Milliseconds until the claim lapses unless it is renewed. */
  lease: number
  clock: Date
  /** In the first pass: the header fields to prepend, kept with the claim; later null. */
  trace: Buffer | null
  /** When it began, perhaps before its claim. */
  begunAt: Date
  /** The attempt is under way already: no claim where another trace was kept meanwhile. */
  unclaimed: boolean
  /** The recipients whose final dot is about to be sent, if it is: their dot mark is made at once. */
  dot: number[] | null
}

/**
 * Takes those of the recipients that are queued, due, not held by another live attempt, and not sent another way by an operator
 * since the attempt was planned; null when none is. An earlier attempt whose lease has lapsed is marked as lost, and can send no more:
 * markDot refuses it. One from which an operator has taken these, and which holds others, lives on for those.
 */
export async function claimAttempt(sql: Sql, request: ClaimRequest): Promise<Claim | null> {
  const rows = await sql<(Pick<Claim, 'number' | 'reversePath' | 'acceptedAt' | 'expiresAt'> & ClaimedRecipient)[]>`
    with message as (
      update messages set attempts = attempts + 1, trace = coalesce(trace, ${request.trace}), started_at = coalesce(started_at, now()),
        drive_at = case when ${request.trace !== null} then now() + interval '2 minutes' else drive_at end
      where id = ${request.id} and state = 'queued' and held_at is null and (not ${request.unclaimed} or coalesce(trace, ${request.trace}) = ${request.trace})
      returning attempts as number, reverse_path, accepted_at, expires_at
    ),
    claimed as (
      update recipients r set attempt = message.number, leased_until = now() + ${request.lease}::float8 * interval '1 millisecond'
      from message
      where r.message_id = ${request.id} and r.n = any(${request.recipients}::int[]) and r.state = 'queued'
        and r.next_attempt_at <= greatest(now(), ${request.clock}) and ${isFree(sql)}
        and (${request.route === undefined} or r.route is not distinct from ${request.route ?? null})
      returning message.*, r.n, r.forward_path, r.notify, r.orcpt, r.verp, r.attempts, r.ruled
    ),
    lost as (
      update attempts set ended_at = now(), lost = true
      where message_id = ${request.id} and ended_at is null and recipients && (select array_agg(n) from claimed) and not exists (
        select from recipients r where r.message_id = ${request.id} and r.attempt = attempts.number and r.state = 'queued' and ${isLeased(sql)})
    ),
    begun as (
      insert into attempts (message_id, number, next_hop, recipients, worker, begun_at, dot_at, dots)
      select ${request.id}, number, ${request.nextHop}, array_agg(n order by n), ${request.worker}, least(now(), ${request.begunAt}),
        case when ${request.dot !== null} then now() end, ${request.dot}::int[]
      from claimed group by number
    )
    select number, reverse_path as "reversePath", accepted_at as "acceptedAt", expires_at as "expiresAt", n, forward_path as "forwardPath",
           notify, orcpt, verp, attempts, ruled as "ruledBefore"
    from claimed order by n`
  const [first] = rows
  if (!first) return null
  const { number, reversePath, acceptedAt, expiresAt } = first
  return { number, reversePath, acceptedAt, expiresAt, begunAt: request.begunAt, recipients: rows }
}

/**
 * Keeps an attempt's hold on its recipients for another `lease` milliseconds. Returns how many recipients are still its own, settled or
 * not: an operator's word or another attempt takes them away.
 */
export async function renewLease(sql: Sql, id: string, number: number, lease: number): Promise<number> {
  const [row] = await sql<[{ count: number }]>`
    with renewed as (
      update recipients set leased_until = now() + ${lease}::float8 * interval '1 millisecond'
      where message_id = ${id} and attempt = ${number} and state = 'queued'
    )
    select count(*)::int as count from recipients where message_id = ${id} and attempt = ${number}`
  return row.count
}

/**
 * Records that the final dot is about to be sent to these recipients, and keeps them for another `lease` milliseconds. False when an operator's word or another attempt has taken
 * one of them away meanwhile, or it is settled: then the dot may not be sent, and nothing is changed.
 */
export async function markDot(sql: Sql, id: string, number: number, recipients: number[], lease: number): Promise<boolean> {
  const rows = await sql`
    with held as (
      select n from recipients
      where message_id = ${id} and attempt = ${number} and state = 'queued' and n = any(${recipients}::int[])
      for no key update
    ),
    marked as (
      update attempts set dot_at = now(), dots = dots || ${recipients}::int[]
      where message_id = ${id} and number = ${number} and ended_at is null
        and (select count(*) from held) = ${recipients.length}
      returning number
    )
    update recipients set leased_until = now() + ${lease}::float8 * interval '1 millisecond'
    where message_id = ${id} and attempt = (select number from marked) and n = any(${recipients}::int[])
    returning n`
  return rows.length > 0
}

/** What becomes of a recipient after an attempt. */
export interface Verdict {
  n: number
  state: 'queued' | 'delivered' | 'notifying' | 'bouncing'
  outcome: Outcome
  /** Whether the backoff advances: not for an attempt that never reached the wire. */
  counts: boolean
  /** What the retry rules have decided by now. */
  ruled: Ruled
  /** For those still queued: when a rule gives them up, if one does. */
  givesUpAt: Date | null
  /** For those still queued: when they are due again. */
  nextAttemptAt: Date | null
}

/**
 * Ends an attempt: its record, its recipients and the message in one transaction. A delivery is recorded even when
 * another attempt has taken over meanwhile, since the next hop has said yes; any other verdict of a stale attempt is
 * left to its successor. Done twice, it counts once: whoever could not see the commit may repeat it.
 */
export async function recordAttempt(
  sql: Sql, id: string, number: number, result: AttemptResult & { destination: string }, verdicts: Verdict[],
  retention: Retention,
): Promise<Progress> {
  if (verdicts.length === 1) {
    const settled = await recordSole(sql, id, number, result, verdicts[0]!, retention)
    if (settled) return settled
  }
  const [, , , progress] = await sql.begin((transaction) => {
    const tx = transaction as unknown as Sql
    // Sent together, in this order: they wait for each other in the server, and not for us, while the message is locked.
    return [tx`select from messages where id = ${id} for no key update`.execute(), tx`
      update recipients r set
        state = v.state, outcome = v.outcome, attempts = r.attempts + v.counts,
        next_attempt_at = coalesce(v.next_attempt_at, r.next_attempt_at),
        settled_at = case when v.state in ('delivered', 'notifying') then now() end, leased_until = null,
        dead_letter = false, waits = null, destination = case when v.state = 'queued' then ${result.destination}::text end,
        ruled = v.ruled, gives_up_at = v.gives_up_at
      from unnest(
        ${verdicts.map((v) => v.n)}::int[], ${verdicts.map((v) => v.state)}::text[],
        ${verdicts.map((v) => JSON.stringify(v.outcome))}::text[]::jsonb[], ${verdicts.map((v) => (v.counts ? 1 : 0))}::int[],
        ${verdicts.map((v) => v.nextAttemptAt?.toISOString() ?? null)}::text[]::timestamptz[],
        ${verdicts.map((v) => JSON.stringify(v.ruled))}::text[]::jsonb[], ${verdicts.map((v) => v.givesUpAt?.toISOString() ?? null)}::text[]::timestamptz[]
      ) as v (n, state, outcome, counts, next_attempt_at, ruled, gives_up_at)
      where r.message_id = ${id} and r.n = v.n
        and ((v.state in ('delivered', 'notifying') and r.state not in ('delivered', 'notifying'))
          or (r.state in ('queued', 'bouncing') and r.attempt = ${number} and exists (
            select from attempts a where a.message_id = ${id} and a.number = ${number} and a.ended_at is null)))`.execute(),
    tx`
      update attempts set ended_at = now(), lost = false, tries = ${tx.json(result.tries as never)},
        outcomes = ${tx.json(result.outcomes as never)}
      where message_id = ${id} and number = ${number}`.execute(),
    settleProgress(tx, id, retention)] as const
  })
  return progress
}

/**
 * The same for the common case in one statement: the message has one recipient, and this attempt holds it. null, and nothing is done,
 * when it is another case. The message is locked first, as everywhere.
 */
async function recordSole(
  sql: Sql, id: string, number: number, result: AttemptResult & { destination: string }, verdict: Verdict, retention: Retention,
): Promise<Progress | null> {
  const { n, state, counts, ruled, givesUpAt, nextAttemptAt } = verdict
  const queued = state === 'queued'
  const [row] = await sql<ProgressRow[]>`
    with message as materialized (
      select id as message_id from messages where id = ${id} and (select count(*) from recipients where message_id = ${id}) = 1 for no key update
    ),
    recipient as (
      update recipients r set
        state = ${state}, outcome = ${sql.json(verdict.outcome as never)}, attempts = r.attempts + ${counts ? 1 : 0}::int,
        next_attempt_at = coalesce(${nextAttemptAt}, r.next_attempt_at),
        settled_at = case when ${state === 'delivered' || state === 'notifying'} then now() end, leased_until = null, dead_letter = false, waits = null,
        destination = ${queued ? result.destination : null}, ruled = ${sql.json(ruled as never)}, gives_up_at = ${givesUpAt}
      from message
      where r.message_id = message.message_id and r.n = ${n} and r.state = 'queued' and r.attempt = ${number} and ${isLeased(sql)}
      returning r.next_attempt_at
    ),
    attempt as (
      update attempts set ended_at = now(), lost = false, tries = ${sql.json(result.tries as never)}, outcomes = ${sql.json(result.outcomes as never)}
      where message_id = (select message_id from message) and number = ${number} and exists (select from recipient)
    ),
    open as (
      select ${queued ? 1 : 0}::int as queued, ${state === 'notifying' || state === 'bouncing' ? 1 : 0}::int as unreported,
             case when ${queued} then next_attempt_at end as next_at, null::timestamptz as leased_until, false as failed, null::text[] as waits
      from recipient
    )
    ${settleMessage(sql, sql`id = ${id}`, retention)}`
  return row ? toProgress(row) : null
}

/**
 * Records deliveries while the attempt goes on with other recipients, so that a crash from here on repeats none of them, and leaves
 * no message open that has none to go on with. recordAttempt then finds them settled. The message is locked first, as by all that
 * change recipients: two that lock them in another order would wait for each other.
 */
export async function recordDelivered(sql: Sql, id: string, verdicts: Verdict[], retention: Retention): Promise<void> {
  await sql.begin((transaction) => {
    const tx = transaction as unknown as Sql
    return [tx`select from messages where id = ${id} for no key update`.execute(), tx`
    update recipients r set state = v.state, outcome = v.outcome, attempts = r.attempts + 1, settled_at = now(), leased_until = null,
      waits = null, destination = null
    from unnest(
      ${verdicts.map((v) => v.n)}::int[], ${verdicts.map((v) => v.state)}::text[], ${verdicts.map((v) => JSON.stringify(v.outcome))}::text[]::jsonb[]
    ) as v (n, state, outcome)
    where r.message_id = ${id} and r.n = v.n and r.state in ('queued', 'bouncing')`.execute(), settleProgress(tx, id, retention)] as const
  })
}

/**
 * Ends an attempt that came to no outcome (broken off before the wire or the dot): its recipients are due at once. One whose dot was
 * marked is left to the end of its lease, and counts as lost, since it may have been delivered; unless `noDot`: it surely was not sent.
 */
export async function releaseAttempt(sql: Sql, id: string, number: number, tries: HostTry[], noDot = false): Promise<void> {
  await sql`
    with ended as (
      update attempts set ended_at = now(), dot_at = null, dots = null, tries = ${sql.json(tries as never)}
      where message_id = ${id} and number = ${number} and ended_at is null and (dot_at is null or ${noDot})
      returning number
    )
    update recipients set leased_until = null
    where message_id = ${id} and attempt = (select number from ended) and state = 'queued'`
}

export interface AttemptRow {
  number: number
  nextHop: string
  recipients: number[]
  worker: string
  begunAt: Date
  dotAt: Date | null
  endedAt: Date | null
  lost: boolean
  tries: HostTry[]
  outcomes: Record<string, Outcome>
}

/** The latest `limit` attempts of a message, oldest first. */
export async function readAttempts(sql: Sql, id: string, limit: number): Promise<AttemptRow[]> {
  const rows = await sql<AttemptRow[]>`
    select number, next_hop as "nextHop", recipients, worker, begun_at as "begunAt", dot_at as "dotAt", ended_at as "endedAt",
           lost, tries, outcomes
    from attempts where message_id = ${id} order by number desc limit ${limit}`
  return rows.reverse()
}
