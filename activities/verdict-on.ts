// What an outcome means for its recipient: settled, or tried again and when, by the retry rules and the schedule.

import { domainOf } from '../mail/address.ts'
import type { Outcome } from '../mail/outcome.ts'
import { findRule, givesUpAt, nextAttemptAt, type RetryRule, ruled } from '../mail/retry.ts'
import { builtInRules } from '../mail/retry-rules.ts'
import type { ClaimedRecipient, Verdict } from '../store/attempts.ts'
import { postgresTime } from '../store/clock.ts'
import type { ActivityDeps } from './index.ts'

/** Pause, in milliseconds, when no attempt was possible and nothing tells until when: short, but no spinning. */
const policyPause = 5000

/** What is the same for all recipients of one attempt: those that are deferred together come back together, in one transaction. */
export interface Judging {
  nextHop: string
  /** When the queue lifetime ends, and when it is now, in milliseconds since 1970. */
  expiresAt: number
  now: number
  /** 0 to 1: how far the next attempt is put off at random. */
  random: number
}

export function judging(nextHop: string, clock: number, expiresAt: number): Judging {
  // The workflow's clock and that of Postgres may differ; by the later one no attempt is due in the past of either.
  return { nextHop, expiresAt, now: Math.max(postgresTime(), clock), random: Math.random() }
}

export function verdictOn(deps: ActivityDeps, recipient: ClaimedRecipient, plain: Outcome, { nextHop, expiresAt, now, random }: Judging): Verdict {
  const { n, attempts, forwardPath, ruledBefore } = recipient
  const counts = plain.phase !== 'policy'
  const rule = ruleFor(deps, plain, forwardPath, nextHop)
  const { outcome, ruled: byRules } = ruled(plain, rule, ruledBefore, now)
  const verdict = { n, outcome, counts, ruled: byRules, givesUpAt: null, nextAttemptAt: null }
  if (outcome.status === 'delivered') return { ...verdict, state: owesReport(recipient, outcome) ? 'notifying' : 'delivered' }
  if (outcome.status === 'bounced') return { ...verdict, state: 'bouncing' }
  const given = givesUpAt(rule, byRules)
  if (given !== null && now >= given) return { ...verdict, state: 'bouncing', outcome: { ...outcome, givenUp: true } }
  const next = counts
    ? nextAttemptAt({ now, attempts: attempts + 1, rule, times: rule ? byRules.times[rule.name]! : 0, schedule: deps.settings.retry, random })
    : now + policyPause
  // The last attempt is made when the time is over, not earlier.
  const endsAt = Math.min(expiresAt, given ?? expiresAt)
  return { ...verdict, state: 'queued', givesUpAt: given === null ? null : new Date(given), nextAttemptAt: new Date(now < endsAt ? Math.min(next, endsAt) : next) }
}

/** RFC 3461 section 5.2: a success is ours to report, unless the next hop has been asked to. */
function owesReport(recipient: ClaimedRecipient, outcome: Outcome): boolean {
  return recipient.notify.includes('SUCCESS') && !outcome.dsnPassedOn
}

/** The retry rule for an outcome: the operator's first, then the built-in ones. */
export function ruleFor(deps: ActivityDeps, outcome: Outcome, forwardPath: string, nextHop: string): RetryRule | undefined {
  if (outcome.status === 'delivered') return undefined
  const { rules, builtInRules: builtIn } = deps.settings.retry
  return findRule(outcome, { domain: domainOf(forwardPath), nextHop }, builtIn ? [...rules, ...builtInRules] : rules)
}

