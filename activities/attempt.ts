// What every attempt has in common: claim the recipients, hold the lease, deliver, record. The claim and the dot mark in
// Postgres keep two attempts apart, whatever Temporal, a paused process or a slow network makes of the activity.

import { Context } from '@temporalio/activity'
import type { Entry, Refusal } from '../gate/types.ts'
import type { AttemptResult, Outcome } from '../mail/outcome.ts'
import type { Progress } from '../mail/progress.ts'
import { UnknownMessage } from '../mail/unknown-message.ts'
import { local } from '../mail/verdict.ts'
import { type ClaimedRecipient, recordDelivered } from '../store/attempts.ts'
import { type Opened, readMessage, type WholeMessage } from '../store/messages.ts'
import { isDatabaseError, whenBack } from '../store/database.ts'
import { putOffRecipients } from '../store/destinations.ts'
import { readProgress } from '../store/recipients.ts'
import { type Claiming, createClaiming } from './claiming.ts'
import { eitherOf } from './either.ts'
import { eachReversePath } from './each-reverse-path.ts'
import type { ActivityDeps } from './index.ts'
import { record } from './record-attempt.ts'
import type { AttemptArgument, Attempted, Group } from './types.ts'
import { judging, verdictOn } from './verdict-on.ts'

/** Milliseconds after which an attempt is broken off before its final dot: the wait for the reply to one must end before Temporal gives the activity up. */
const longest = 5_400_000

export interface Delivery {
  message: WholeMessage
  recipients: Pick<ClaimedRecipient, 'n' | 'forwardPath' | 'notify' | 'orcpt' | 'verp'>[]
  /** To be asked after `beforeDot`: whether it is not the first attempt for this message, and one before may have got further than its record says. */
  again: () => boolean
  /** Aborted: break off, unless the final dot was sent. */
  signal: AbortSignal
  /** To be asked before the final dot, or before what corresponds to it: false means that it may not be sent. */
  beforeDot: (recipients: number[]) => Promise<boolean>
  /** To be told the outcomes so far when the attempt goes on after a final dot. */
  partly: (outcomes: ReadonlyMap<number, Outcome>) => Promise<void>
}

/** How an agent delivers. */
export type Deliver = (delivery: Delivery) => Promise<AttemptResult>

/** Makes one attempt. Throws when infrastructure is broken; then its recipients are free again, or will be when the lease ends. */
export async function makeAttempt(deps: ActivityDeps, argument: AttemptArgument, deliver: Deliver): Promise<Attempted> {
  return (await tryOnce(deps, argument, deliver, null))!
}

/**
 * The same in the first pass, which has read the message already: the attempt is broken off, before the final dot, after
 * settings.transfer.fastLane. null when it is, or when it would last that long: nothing was decided.
 */
export async function makeFirstAttempt(deps: ActivityDeps, argument: AttemptArgument, deliver: Deliver, opened: Opened): Promise<Attempted | null> {
  return await tryOnce(deps, argument, deliver, opened)
}

async function tryOnce(deps: ActivityDeps, argument: AttemptArgument, deliver: Deliver, first: Opened | null): Promise<Attempted | null> {
  const { id, group } = argument
  if (deps.stopping.aborted) throw stopping()
  const patience = first ? null : eitherOf([Context.current().cancellationSignal, deps.stopping])
  const entered = await deps.gate.enter(entryFor(id, group), patience?.signal ?? null).finally(() => patience?.end())
  if (entered.kind === 'line') return null
  if (entered.kind === 'refused' && deps.stopping.aborted) throw stopping()
  if (entered.kind === 'refused') return { attempt: null, progress: await putOff(deps, argument, entered) }
  let outcomes: Outcome[] | null = null
  try {
    if (first && entered.slow) return null
    const unclaimed = first?.untried ?? false
    const claiming = createClaiming(deps, argument, first?.message.trace ?? null, unclaimed)
    if (!unclaimed && !(await claiming.take())) return { attempt: null, progress: await readProgress(deps.sql, id) }
    return await tryEntered(deps, argument, claiming, first, async (delivery) => {
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
export async function putOff(deps: ActivityDeps, { id, clock, group }: AttemptArgument, { name, until, why, seen }: Refusal): Promise<Progress> {
  deps.log.debug({ id, nextHop: group.nextHop, recipients: group.recipients.length, until, why }, 'put off')
  const at = new Date(Math.max(until.getTime(), clock + 100))
  const { recipients, route } = group
  const { retention } = deps.settings
  return await putOffRecipients(deps.sql, { id, recipients, route, destination: name, why, until: at, seen, clock: new Date(clock), retention })
}

async function tryEntered(
  deps: ActivityDeps, { id, clock, group }: AttemptArgument, claiming: Claiming, first: Opened | null, deliver: Deliver,
): Promise<Attempted | null> {
  const { sql, settings } = deps

  const context = Context.current()
  const { signal, timedOut, abort, end } = eitherOf([context.cancellationSignal, deps.stopping], first ? settings.transfer.fastLane : longest)
  let overtaken = false
  const renewal = setInterval(() => {
    claiming.renew().then((whole) => {
      overtaken ||= !whole
      if (overtaken) abort()
    }, (error) => deps.log.warn({ id, error: String(error) }, 'lease not renewed'))
  }, settings.worker.lease / 3)
  const heartbeat = first ? undefined : setInterval(() => context.heartbeat(), 10_000)
  try {
    const message = first?.message ?? (await readMessage(sql, id))
    if (!message) throw new UnknownMessage()
    const recipients = claiming.claim()?.recipients ?? first!.recipients.filter(({ n }) => group.recipients.includes(n))
    const partly = async (outcomes: ReadonlyMap<number, Outcome>) => {
      const delivered = claiming.claim()?.recipients.filter(({ n }) => outcomes.get(n)?.status === 'delivered') ?? []
      if (delivered.length === 0) return
      const judged = judging(group.nextHop, clock, message.expiresAt.getTime())
      const verdicts = delivered.map((each) => verdictOn(deps, each, outcomes.get(each.n)!, judged))
      await whenBack(() => recordDelivered(sql, id, verdicts, settings.retention), {
        complain: (error) => deps.log.error({ id, error: String(error) }, 'some is delivered, and Postgres does not take it down'),
      })
    }
    const again = () => (claiming.claim()?.number ?? 1) > 1
    const result = await eachReversePath({ message, recipients, again, signal, beforeDot: claiming.beforeDot, partly }, deliver)
      .catch((error) => broken(deps, id, recipients, error))
    if (!first && timedOut()) deferTimedOut(result)
    const undecided = signal.aborted && Object.values(result.outcomes).every((outcome) => outcome.phase === 'policy')
    if (undecided) {
      await claiming.release(result.tries, !result.dotSent)
      if (deps.stopping.aborted || context.cancellationSignal.aborted) throw stopping()
      return overtaken ? { attempt: null, progress: await readProgress(sql, id) } : null
    }
    const claim = await claiming.take()
    if (!claim) return { attempt: null, progress: await readProgress(sql, id) }
    return await record(deps, { id, nextHop: group.nextHop, destination: group.destination, clock, claim, result })
  } catch (error) {
    // Best effort: when the database is away the lease ends by itself, as it does for an attempt whose dot may have gone out.
    await claiming.release([]).catch(() => {})
    throw error
  } finally {
    end()
    clearInterval(renewal)
    clearInterval(heartbeat)
  }
}

/** Too long is the next hop's doing: it counts as an attempt, with the furthest stage that it came to. Changes the outcomes that came to nothing. */
function deferTimedOut({ outcomes, tries }: AttemptResult): void {
  const { host = null, address = null, tls = null, phase = 'connect' } = tries.at(-1) ?? {}
  const text = `the attempt was broken off after ${longest / 60_000} minutes${host ? `, with host ${host}[${address}]` : ''}`
  for (const [n, outcome] of Object.entries(outcomes)) {
    if (outcome.phase === 'policy') outcomes[Number(n)] = { ...local('deferred', '4.4.2', text, phase), host, address, tls }
  }
}

/** Whatever is wrong with this message or this agent must not keep it from expiring: it counts as an attempt. The database is rethrown. */
function broken(deps: ActivityDeps, id: string, recipients: Delivery['recipients'], error: unknown): AttemptResult {
  if (isDatabaseError(error)) throw error
  deps.log.error({ id, error: String(error) }, 'an attempt broke')
  const outcome = local('deferred', '4.3.0', `the attempt broke: ${(error as Error).message}`)
  return { outcomes: Object.fromEntries(recipients.map(({ n }) => [n, outcome])), tries: [], dotSent: false }
}

/** Thrown, not returned: Temporal then gives the attempt to another worker. */
function stopping(): Error {
  return new Error('this worker is stopping')
}
