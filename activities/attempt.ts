// What every attempt has in common: claim the recipients, hold the lease, deliver, record. The claim and the dot mark in
// Postgres keep two attempts apart, whatever Temporal, a paused process or a slow network makes of the activity.

import { Context } from '@temporalio/activity'
import type { AttemptResult, Outcome } from '../mail/outcome.ts'
import { local } from '../mail/verdict.ts'
import { type Claim, claimAttempt, markDot, recordDelivered, releaseAttempt, renewLease } from '../store/attempts.ts'
import { type MessageRow, readMessage } from '../store/messages.ts'
import { isDatabaseError, whenBack } from '../store/database.ts'
import { putOffRecipients } from '../store/destinations.ts'
import { type Progress, readProgress } from '../store/recipients.ts'
import { eachReversePath } from './each-reverse-path.ts'
import type { Entry, Refusal } from './gate.ts'
import type { ActivityDeps } from './index.ts'
import { record } from './record-attempt.ts'
import type { AttemptArgument, Attempted, Group } from './types.ts'
import { verdictOn } from './verdict-on.ts'

export interface Delivery {
  message: MessageRow
  recipients: Claim['recipients']
  /** Not the first attempt for this message: one before may have got further than its record says. */
  again: boolean
  /** Aborted: break off, unless the final dot was sent. */
  signal: AbortSignal
  /** To be asked before the final dot, or before what corresponds to it: false means that it may not be sent. */
  beforeDot: (recipients: number[]) => Promise<boolean>
  /** To be told the outcomes so far when the attempt goes on after a final dot. */
  partly: (outcomes: ReadonlyMap<number, Outcome>) => Promise<void>
}

/** Makes one attempt. Throws when infrastructure is broken; then its recipients are free again, or will be when the lease ends. */
export async function makeAttempt(
  deps: ActivityDeps, argument: AttemptArgument, deliver: (delivery: Delivery) => Promise<AttemptResult>,
): Promise<Attempted> {
  const { id, group } = argument
  const { sql } = deps
  if (deps.stopping.aborted) throw stopping()
  const leaveLane = argument.fastLane ? deps.fastLane.enter(group.nextHop) : () => {}
  if (!leaveLane) return { moved: true, attempt: null, progress: await readProgress(sql, id) }
  try {
    return await passGate(deps, argument, deliver)
  } finally {
    leaveLane()
  }
}

async function passGate(
  deps: ActivityDeps, argument: AttemptArgument, deliver: (delivery: Delivery) => Promise<AttemptResult>,
): Promise<Attempted> {
  const { id, clock, group } = argument
  const { sql, worker, settings: { worker: { lease } } } = deps
  const patient = AbortSignal.any([Context.current().cancellationSignal, deps.stopping])
  const entered = await deps.gate.enter(entryFor(id, group), argument.fastLane ? null : patient)
  if (entered.kind === 'line') return { moved: true, attempt: null, progress: await readProgress(sql, id) }
  if (deps.stopping.aborted && entered.kind === 'refused') throw stopping()
  if (entered.kind === 'refused') return { moved: false, attempt: null, progress: await putOff(deps, argument, entered) }
  let outcomes: Outcome[] | null = null
  try {
    if (argument.fastLane && entered.slow) return { moved: true, attempt: null, progress: await readProgress(sql, id) }
    const claim = await claimAttempt(sql, { id, nextHop: group.nextHop, recipients: group.recipients, worker, lease, clock: new Date(clock) })
    if (!claim) return { moved: false, attempt: null, progress: await readProgress(sql, id) }
    return await tryClaimed(deps, argument, claim, async (delivery) => {
      const result = await deliver(delivery)
      outcomes = Object.values(result.outcomes)
      return result
    })
  } finally {
    entered.leave(outcomes)
  }
}

/** What the gate is asked for a group. */
export function entryFor(id: string, { destination, nextHop, agent }: Group): Entry {
  return { id, destination, nextHop, network: agent === 'smtp' || agent === 'lmtp' }
}

/** No attempt is possible: the recipients wait on a timer, and their backoff does not advance. */
export async function putOff(deps: ActivityDeps, { id, clock, group }: Omit<AttemptArgument, 'fastLane'>, { name, until, why }: Refusal): Promise<Progress> {
  deps.log.debug({ id, nextHop: group.nextHop, recipients: group.recipients.length, until, why }, 'put off')
  const at = new Date(Math.max(until.getTime(), clock + 100))
  const { retention } = deps.settings
  return await putOffRecipients(deps.sql, { id, recipients: group.recipients, destination: name, why, until: at, clock: new Date(clock), retention })
}

async function tryClaimed(
  deps: ActivityDeps, { id, clock, group, fastLane }: AttemptArgument, claim: Claim, deliver: (delivery: Delivery) => Promise<AttemptResult>,
): Promise<Attempted> {
  const { sql, settings } = deps
  const { lease } = settings.worker

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
      const verdicts = delivered.map((each) => verdictOn(deps, each, outcomes.get(each.n)!, group.nextHop, clock, message.expiresAt.getTime()))
      await whenBack(() => recordDelivered(sql, id, verdicts), Number.POSITIVE_INFINITY)
    }
    const again = claim.number > 1
    const result = await eachReversePath({ message, recipients: claim.recipients, again, signal, beforeDot, partly }, deliver).catch((error) => broken(deps, id, claim, error))
    const undecided = signal.aborted && Object.values(result.outcomes).every((outcome) => outcome.phase === 'policy')
    if (undecided) {
      await releaseAttempt(sql, id, claim.number, result.tries, !result.dotSent)
      if (deps.stopping.aborted || context.cancellationSignal.aborted) throw stopping()
      return { moved: true, attempt: null, progress: await readProgress(sql, id) }
    }
    return await record(deps, { id, nextHop: group.nextHop, destination: group.destination, clock, claim, result })
  } catch (error) {
    // Best effort: when the database is away the lease ends by itself, as it does for an attempt whose dot may have gone out.
    await releaseAttempt(sql, id, claim.number, []).catch(() => {})
    throw error
  } finally {
    clearInterval(renewal)
    clearInterval(heartbeat)
  }
}

/** Whatever is wrong with this message or this agent must not keep it from expiring: it counts as an attempt. The database is rethrown. */
function broken(deps: ActivityDeps, id: string, claim: Claim, error: unknown): AttemptResult {
  if (isDatabaseError(error)) throw error
  deps.log.error({ id, attempt: claim.number, error: String(error) }, 'an attempt broke')
  const outcome = local('deferred', '4.3.0', `the attempt broke: ${(error as Error).message}`)
  return { outcomes: Object.fromEntries(claim.recipients.map(({ n }) => [n, outcome])), tries: [], dotSent: false }
}

/** Thrown, not returned: Temporal then gives the attempt to another worker. */
function stopping(): Error {
  return new Error('this worker is stopping')
}
