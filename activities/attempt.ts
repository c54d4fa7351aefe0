// What every attempt has in common: claim the recipients, hold the lease, deliver, record. The claim and the dot mark in
// Postgres keep two attempts apart, whatever Temporal, a paused process or a slow network makes of the activity.

import { Context } from '@temporalio/activity'
import type { AttemptResult, Outcome } from '../mail/outcome.ts'
import { nextAttemptAt } from '../mail/retry.ts'
import { type Claim, claimAttempt, markDot, recordAttempt, recordDelivered, releaseAttempt, renewLease, type Verdict } from '../store/attempts.ts'
import { type MessageRow, readMessage } from '../store/messages.ts'
import { readProgress } from '../store/recipients.ts'
import type { ActivityDeps } from './index.ts'
import type { AttemptArgument, Attempted, AttemptSummary } from './types.ts'

export interface Delivery {
  message: MessageRow
  recipients: Claim['recipients']
  /** Aborted: break off, unless the final dot was sent. */
  signal: AbortSignal
  /** To be asked before the final dot, or before what corresponds to it: false means that it may not be sent. */
  beforeDot: (recipients: number[]) => Promise<boolean>
  /** To be told the outcomes so far when the attempt goes on after a final dot. */
  partly: (outcomes: ReadonlyMap<number, Outcome>) => Promise<void>
}

/** Characters of an outcome's text that the workflow is told; Postgres keeps all. */
const textInHistory = 200

/** Makes one attempt. Throws when infrastructure is broken; then its recipients are free again, or will be when the lease ends. */
export async function makeAttempt(
  deps: ActivityDeps, argument: AttemptArgument, deliver: (delivery: Delivery) => Promise<AttemptResult>,
): Promise<Attempted> {
  const { id, clock, group, fastLane } = argument
  const { sql, settings } = deps
  const { lease } = settings.worker
  const request = { id, nextHop: group.nextHop, recipients: group.recipients, worker: deps.worker, lease, clock: new Date(clock) }
  if (deps.stopping.aborted) throw stopping()
  const claim = await claimAttempt(sql, request)
  if (!claim) return { moved: false, attempt: null, progress: await readProgress(sql, id) }

  const context = Context.current()
  const signal = AbortSignal.any([
    context.cancellationSignal, deps.stopping, ...(fastLane ? [AbortSignal.timeout(settings.transfer.fastLane)] : []),
  ])
  const renewal = setInterval(() => {
    renewLease(sql, id, claim.number, lease).catch((error) => deps.log.warn({ id, error: String(error) }, 'lease not renewed'))
  }, lease / 3)
  const heartbeat = fastLane ? undefined : setInterval(() => context.heartbeat(), 10_000)
  try {
    const message = await readMessage(sql, id)
    if (!message) throw new Error(`there is no message ${id}`)
    const beforeDot = (recipients: number[]) => markDot(sql, id, claim.number, recipients, lease)
    const partly = async (outcomes: ReadonlyMap<number, Outcome>) => {
      const delivered = claim.recipients.filter(({ n }) => outcomes.get(n)?.status === 'delivered')
      if (delivered.length === 0) return
      await recordDelivered(sql, id, delivered.map((each) => verdictOn(deps, each, outcomes.get(each.n)!, clock, message.expiresAt.getTime())))
    }
    const result = await deliver({ message, recipients: claim.recipients, signal, beforeDot, partly })
    const undecided = signal.aborted && Object.values(result.outcomes).every((outcome) => outcome.phase === 'policy')
    if (undecided) {
      await releaseAttempt(sql, id, claim.number, result.tries)
      if (deps.stopping.aborted || context.cancellationSignal.aborted) throw stopping()
      return { moved: true, attempt: null, progress: await readProgress(sql, id) }
    }
    return await record(deps, { id, nextHop: group.nextHop, clock, claim, result })
  } catch (error) {
    // Best effort: when the database is away the lease ends by itself.
    await releaseAttempt(sql, id, claim.number, []).catch(() => {})
    throw error
  } finally {
    clearInterval(renewal)
    clearInterval(heartbeat)
  }
}

/** Thrown, not returned: Temporal then gives the attempt to another worker. */
function stopping(): Error {
  return new Error('this worker is stopping')
}

interface Recording {
  id: string
  nextHop: string
  clock: number
  claim: Claim
  result: AttemptResult
}

/** Records what came of an attempt, says it in the log, and sums it up for the workflow. */
export async function record(deps: ActivityDeps, recording: Recording): Promise<Attempted> {
  const { id, nextHop, clock, claim, result } = recording
  const { settings } = deps
  const { expiresAt } = await readProgress(deps.sql, id)
  const verdicts = claim.recipients.map((recipient) => verdictOn(deps, recipient, result.outcomes[recipient.n]!, clock, expiresAt))
  const progress = await recordAttempt(deps.sql, id, claim.number, result, verdicts, settings.retention)
  for (const recipient of claim.recipients) {
    const { status, enhanced, host, address, text, tls } = result.outcomes[recipient.n]!
    const relay = host === null ? nextHop : `${host}[${address}]`
    deps.log.info({ id, to: recipient.forwardPath, relay, attempt: claim.number, dsn: enhanced, status, tls: tls?.version, text }, status)
  }
  return { moved: false, attempt: summary(recording, verdicts), progress }
}

function verdictOn(
  deps: ActivityDeps, recipient: Claim['recipients'][number], outcome: Outcome, clock: number, expiresAt: number,
): Verdict {
  const { n, attempts } = recipient
  const counts = outcome.phase !== 'policy'
  if (outcome.status === 'delivered') return { n, state: 'delivered', outcome, counts, nextAttemptAt: null }
  if (outcome.status === 'bounced') return { n, state: 'bouncing', outcome, counts, nextAttemptAt: null }
  // The workflow's clock and ours may differ; by the later one no attempt is due in the past of either.
  const now = Math.max(Date.now(), clock)
  const next = counts ? nextAttemptAt(now, attempts + 1, deps.settings.retry, Math.random()) : now
  // The last attempt is made when the lifetime ends, not earlier.
  return { n, state: 'queued', outcome, counts, nextAttemptAt: new Date(now < expiresAt ? Math.min(next, expiresAt) : next) }
}

function summary({ nextHop, claim, result }: Recording, verdicts: Verdict[]): AttemptSummary {
  return {
    number: claim.number,
    at: result.tries[0]?.at ?? new Date().toISOString(),
    nextHop,
    tries: result.tries.slice(0, 5),
    outcomes: verdicts.map(({ n, outcome: { status, enhanced, text }, nextAttemptAt }) => ({
      n, status, enhanced, text: text.slice(0, textInHistory), nextAttemptAt: nextAttemptAt?.toISOString() ?? null,
    })),
  }
}
