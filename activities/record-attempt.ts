// The end of an attempt: its record and its recipients in Postgres, a line in the log for each recipient, and the summary that the
// workflow keeps.

import { originalOf } from '../mail/expand.ts'
import type { AttemptResult, Outcome } from '../mail/outcome.ts'
import { type Claim, recordAttempt, type Verdict } from '../store/attempts.ts'
import { postgresTime } from '../store/clock.ts'
import { whenBack } from '../store/database.ts'
import { suspendDestination } from '../store/destinations.ts'
import type { ActivityDeps } from './index.ts'
import { recipientsShown } from './stamp-headers.ts'
import type { Attempted, AttemptSummary } from './types.ts'
import { judging, verdictOn } from './verdict-on.ts'

/** Characters of an outcome's text that the workflow is told; Postgres keeps all. */
const textInHistory = 200

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
  const judged = judging(nextHop, clock, claim.expiresAt.getTime())
  const verdicts = claim.recipients.map((recipient) => verdictOn(deps, recipient, result.outcomes[recipient.n]!, judged))
  const outcomes = Object.fromEntries(verdicts.map(({ n, outcome }) => [n, outcome]))
  // Until it is recorded, this process alone knows that the next hop has said yes: to give up would be to send again.
  const progress = await whenBack(() => recordAttempt(deps.sql, id, claim.number, { ...result, outcomes, destination }, verdicts, settings.retention), {
    complain: (error) => deps.log.error({ id, error: String(error) }, 'an attempt is over, and Postgres does not take down what came of it'),
  })
  for (const recipient of claim.recipients) {
    const outcome = outcomes[recipient.n]!
    const who = { id, to: recipient.forwardPath, orig_to: originalOf(recipient) ?? undefined }
    deps.log.info({ ...who, ...logFields(nextHop, claim, result, outcome), tls: outcome.tls?.version, text: outcome.text }, outcome.status)
  }
  await suspendByRule(deps, destination, claim.recipients, outcomes, nextHop)
  return { attempt: summary(recording, verdicts), progress }
}

/** A rule may say that this outcome is the destination's business, not one message's. */
async function suspendByRule(deps: ActivityDeps, destination: string, recipients: Claim['recipients'], outcomes: Record<number, Outcome>, nextHop: string): Promise<void> {
  for (const { n, forwardPath } of recipients) {
    const outcome = outcomes[n]!
    if (outcome.rule === undefined) continue
    const rule = deps.settings.retry.rules.find(({ name }) => name === outcome.rule!.name)
    if (rule?.then.action !== 'suspendDestination') continue
    deps.log.warn({ destination, rule: rule.name, to: forwardPath, nextHop, text: outcome.text }, 'destination suspended')
    return await suspendDestination(deps.sql, destination, rule.then.for ?? 3_600_000, `rule ${rule.name}`, outcome.text, true)
  }
}

/** As Postfix names them. `delays`: 0, in the queue before this attempt, with hosts that did not take it, with the last host; in seconds. */
function logFields(nextHop: string, claim: Claim, { tries }: AttemptResult, { host, address, status, enhanced }: Outcome) {
  const seconds = (milliseconds: number) => Math.max(0, Math.round(milliseconds / 10) / 100)
  const took = tries.map((each) => each.took)
  const last = took.pop() ?? 0
  const delays = [0, claim.begunAt.getTime() - claim.acceptedAt.getTime(), took.reduce((sum, each) => sum + each, 0), last]
  return {
    from: claim.reversePath, relay: host === null ? nextHop : `${host}[${address}]`, attempt: claim.number,
    delay: seconds(postgresTime() - claim.acceptedAt.getTime()), delays: delays.map(seconds).join('/'), dsn: enhanced,
    status: status === 'delivered' ? 'sent' : status,
  }
}

function summary({ nextHop, claim, result }: Recording, verdicts: Verdict[]): AttemptSummary {
  const known = verdicts.filter(({ n }) => n < recipientsShown)
  const others = verdicts.filter(({ n }) => n >= recipientsShown).map(({ outcome }) => outcome)
  return {
    number: claim.number,
    at: result.tries[0]?.at ?? new Date().toISOString(),
    nextHop,
    tries: result.tries.slice(0, 5),
    outcomes: known.map(({ n, outcome: { status, enhanced, text }, nextAttemptAt }) => ({
      n, status, enhanced, text: text.slice(0, textInHistory), nextAttemptAt: nextAttemptAt?.toISOString() ?? null,
    })),
    ...(others.length > 0 ? { others: byStatus(others) } : {}),
  }
}

function byStatus(outcomes: Outcome[]): AttemptSummary['others'] {
  return (['delivered', 'deferred', 'bounced'] as const).flatMap((status) => {
    const those = outcomes.filter((outcome) => outcome.status === status)
    return those[0] ? [{ status, count: those.length, text: those[0].text.slice(0, textInHistory) }] : []
  })
}
