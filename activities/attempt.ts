// What every attempt has in common: claim the recipients, hold the lease, deliver, record. The claim and the dot mark in
// Postgres keep two attempts apart, whatever Temporal, a paused process or a slow network makes of the activity.

import { Context } from '@temporalio/activity'
import { domainOf } from '../mail/address.ts'
import type { AttemptResult, Outcome } from '../mail/outcome.ts'
import { findRule, nextAttemptAt, type RetryRule, ruled } from '../mail/retry.ts'
import { builtInRules } from '../mail/retry-rules.ts'
import { local } from '../mail/verdict.ts'
import { type Claim, claimAttempt, markDot, recordAttempt, recordDelivered, releaseAttempt, renewLease, type Verdict } from '../store/attempts.ts'
import { type MessageRow, readMessage } from '../store/messages.ts'
import { postgresTime } from '../store/clock.ts'
import { isDatabaseError, whenBack } from '../store/database.ts'
import { putOffRecipients, suspendDestination } from '../store/destinations.ts'
import { type Progress, readProgress } from '../store/recipients.ts'
import type { Entry, Refusal } from './gate.ts'
import type { ActivityDeps } from './index.ts'
import type { AttemptArgument, Attempted, AttemptSummary, Group } from './types.ts'

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

/** Characters of an outcome's text that the workflow is told; Postgres keeps all. */
const textInHistory = 200

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
  const entered = await deps.gate.enter(entryFor(id, group))
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
  return await putOffRecipients(deps.sql, { id, recipients: group.recipients, destination: name, why, until: at, retention: deps.settings.retention })
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
    const result = await deliver({ message, recipients: claim.recipients, again, signal, beforeDot, partly }).catch((error) => broken(deps, id, claim, error))
    const undecided = signal.aborted && Object.values(result.outcomes).every((outcome) => outcome.phase === 'policy')
    if (undecided) {
      await releaseAttempt(sql, id, claim.number, result.tries)
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

interface Recording {
  id: string
  nextHop: string
  destination: string
  clock: number
  claim: Claim
  result: AttemptResult
}

/** Records what came of an attempt, says it in the log, and sums it up for the workflow. */
export async function record(deps: ActivityDeps, recording: Recording): Promise<Attempted> {
  const { id, nextHop, destination, clock, claim, result } = recording
  const { settings } = deps
  const verdicts = claim.recipients.map((recipient) => verdictOn(deps, recipient, result.outcomes[recipient.n]!, nextHop, clock, claim.expiresAt.getTime()))
  const outcomes = Object.fromEntries(verdicts.map(({ n, outcome }) => [n, outcome]))
  // Until it is recorded, this process alone knows that the next hop has said yes: to give up would be to send again.
  const progress = await whenBack(() => recordAttempt(deps.sql, id, claim.number, { ...result, outcomes, destination }, verdicts, settings.retention), Number.POSITIVE_INFINITY)
  for (const recipient of claim.recipients) {
    const outcome = outcomes[recipient.n]!
    deps.log.info({ id, to: recipient.forwardPath, ...logFields(nextHop, claim, result, outcome), tls: outcome.tls?.version, text: outcome.text }, outcome.status)
  }
  await suspendByRule(deps, destination, claim.recipients, outcomes, nextHop)
  return { moved: false, attempt: summary(recording, verdicts), progress }
}

/** A rule may say that this outcome is the destination's business, not one message's. */
async function suspendByRule(deps: ActivityDeps, destination: string, recipients: Claim['recipients'], outcomes: Record<number, Outcome>, nextHop: string): Promise<void> {
  for (const { n, forwardPath } of recipients) {
    const outcome = outcomes[n]!
    if (outcome.rule === undefined) continue
    const rule = deps.settings.retry.rules.find(({ name }) => name === outcome.rule!.name)
    if (rule?.then.action !== 'suspendDestination') continue
    deps.log.warn({ destination, rule: rule.name, to: forwardPath, nextHop, text: outcome.text }, 'destination suspended')
    return await suspendDestination(deps.sql, destination, rule.then.for ?? 3_600_000, `rule ${rule.name}`, outcome.text)
  }
}

/** Pause, in milliseconds, when no attempt was possible and nothing tells until when: short, but no spinning. */
const policyPause = 5000

/** As Postfix names them. `delays`: 0, in the queue before this attempt, with hosts that did not take it, with the last host; in seconds. */
function logFields(nextHop: string, claim: Claim, { tries }: AttemptResult, { host, address, status, enhanced }: Outcome) {
  const seconds = (milliseconds: number) => Math.max(0, Math.round(milliseconds / 10) / 100)
  const took = tries.map((each) => each.took)
  const last = took.pop() ?? 0
  const delays = [0, claim.claimedAt.getTime() - claim.acceptedAt.getTime(), took.reduce((sum, each) => sum + each, 0), last]
  return {
    from: claim.reversePath, relay: host === null ? nextHop : `${host}[${address}]`, attempt: claim.number,
    delay: seconds(postgresTime() - claim.acceptedAt.getTime()), delays: delays.map(seconds).join('/'), dsn: enhanced,
    status: status === 'delivered' ? 'sent' : status,
  }
}

function verdictOn(
  deps: ActivityDeps, recipient: Claim['recipients'][number], plain: Outcome, nextHop: string, clock: number, expiresAt: number,
): Verdict {
  const { n, attempts, forwardPath, ruledBefore } = recipient
  const counts = plain.phase !== 'policy'
  const rule = ruleFor(deps, plain, forwardPath, nextHop)
  const outcome = ruled(plain, rule, ruledBefore)
  if (outcome.status === 'delivered') return { n, state: owesReport(recipient, outcome) ? 'notifying' : 'delivered', outcome, counts, nextAttemptAt: null }
  if (outcome.status === 'bounced') return { n, state: 'bouncing', outcome, counts, nextAttemptAt: null }
  // The workflow's clock and that of Postgres may differ; by the later one no attempt is due in the past of either.
  const now = Math.max(postgresTime(), clock)
  const times = outcome.rule?.times[outcome.rule.name] ?? 0
  const next = counts
    ? nextAttemptAt({ now, attempts: attempts + 1, rule, times, schedule: deps.settings.retry, random: Math.random() })
    : now + policyPause
  // The last attempt is made when the lifetime ends, not earlier.
  return { n, state: 'queued', outcome, counts, nextAttemptAt: new Date(now < expiresAt ? Math.min(next, expiresAt) : next) }
}

/** RFC 3461 section 5.2: a success is ours to report, unless the next hop has been asked to. */
function owesReport(recipient: Claim['recipients'][number], outcome: Outcome): boolean {
  return recipient.notify.includes('SUCCESS') && !outcome.dsnPassedOn
}

/** The retry rule for an outcome: the operator's first, then the built-in ones. */
export function ruleFor(deps: ActivityDeps, outcome: Outcome, forwardPath: string, nextHop: string): RetryRule | undefined {
  if (outcome.status === 'delivered') return undefined
  const { rules, builtInRules: builtIn } = deps.settings.retry
  return findRule(outcome, { domain: domainOf(forwardPath), nextHop }, builtIn ? [...rules, ...builtInRules] : rules)
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
