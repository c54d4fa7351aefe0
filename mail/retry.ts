// When a deferred recipient is tried again, and what a rule makes of an outcome. Pure; times are milliseconds since 1970.

import type { Outcome, Phase } from './outcome.ts'

export interface RetrySchedule {
  /** Milliseconds before the second attempt. */
  minimalBackoffTime: number
  /** No two attempts are further apart than this, in milliseconds, unless a rule of the operator's says so. */
  maximalBackoffTime: number
}

/** Which outcomes a rule is for: all that is named must fit, and one of each list. */
export interface RetryMatch {
  /** Domain of the recipient: exact, `*.domain` for subdomains, `*`. */
  domain?: string[] | undefined
  /** The next hop as listings name it, or the host that answered: exact, or `*.domain`. */
  nextHop?: string[] | undefined
  phase?: Phase[] | undefined
  /** Reply codes, `x` for any digit: 421, 4xx. */
  code?: string[] | undefined
  /** Enhanced status codes, `x` for any number: 4.2.2, 4.7.x. */
  enhanced?: string[] | undefined
  /** Fits the reply's text, or the outcome's when there is no reply. */
  text?: RegExp | undefined
}

export interface RetryThen {
  /** retry: deferred on a schedule; defer: the same, even if the peer said no for good; nextHost: as the reply says, once no other host is left. */
  action: 'retry' | 'defer' | 'bounce' | 'nextHost' | 'suspendDestination'
  /** Pauses in milliseconds after the first, second, ... time that this rule decides; the last repeats. */
  schedule?: number[] | undefined
  /** The same as multiples of the minimal backoff time, bounded by the maximal one: for built-in rules. */
  factors?: number[] | undefined
  /** How long: of a pause by `defer`, of a suspension; milliseconds. */
  for?: number | undefined
  /** Enhanced status code to report instead. */
  enhanced?: string | undefined
  /** Milliseconds since the rule first decided for a recipient, after which it is given up: as at the end of a queue lifetime, only sooner. */
  giveUpAfter?: number | undefined
}

/** How often each rule has decided for a recipient, and when it first did: milliseconds since 1970. */
export interface Ruled {
  times: Record<string, number>
  since: Record<string, number>
}

export interface RetryRule {
  name: string
  match: RetryMatch
  then: RetryThen
}

/** Where an outcome came from: what rules match on beside the outcome itself. */
export interface Source {
  /** Canonical domain of the recipient. */
  domain: string
  nextHop: string
}

/** The first rule that fits; undefined for a delivery, and where none does. */
export function findRule(outcome: Outcome, { domain, nextHop }: Source, rules: RetryRule[]): RetryRule | undefined {
  if (outcome.status === 'delivered' || outcome.phase === 'policy') return undefined
  return rules.find(({ match }) =>
    one(match.domain, (pattern) => fitsName(pattern, domain)) &&
    one(match.nextHop, (pattern) => fitsName(pattern, nextHop) || (outcome.host !== null && fitsName(pattern, outcome.host))) &&
    one(match.phase, (phase) => phase === outcome.phase) &&
    one(match.code, (pattern) => outcome.reply !== null && fitsCode(pattern, String(outcome.reply.code))) &&
    one(match.enhanced, (pattern) => fitsCode(pattern, outcome.enhanced)) &&
    (match.text === undefined || match.text.test(outcome.reply?.text ?? outcome.text)))
}

function one<T>(list: T[] | undefined, fits: (each: T) => boolean): boolean {
  return list === undefined || list.some(fits)
}

/** `*`, `*.domain` for all below it, or the name itself; in any case of letters. */
export function fitsName(pattern: string, name: string): boolean {
  if (pattern === '*') return true
  const [wanted, given] = [pattern.toLowerCase(), name.toLowerCase()]
  return wanted.startsWith('*.') ? given.endsWith(wanted.slice(1)) : wanted === given
}

/** An address, a domain, or `*.domain`, against a reverse-path. */
export function fitsSender(pattern: string, reversePath: string): boolean {
  return fitsName(pattern, pattern.includes('@') ? reversePath : reversePath.slice(reversePath.lastIndexOf('@') + 1))
}

function fitsCode(pattern: string, code: string): boolean {
  if (!pattern.includes('x')) return pattern === code
  const digits = pattern.includes('.') ? '\\d+' : '\\d'
  return new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('x', digits)}$`).test(code)
}

/** What a rule makes of the outcome at `now`: deferred or bounced, the code to report, and what the rules have decided by then. */
export function ruled(outcome: Outcome, rule: RetryRule | undefined, before: Ruled, now: number): { outcome: Outcome; ruled: Ruled } {
  if (!rule) return { outcome, ruled: before }
  const { name } = rule
  const { action, enhanced } = rule.then
  const status = action === 'bounce' ? 'bounced' : action === 'defer' || action === 'suspendDestination' ? 'deferred' : outcome.status
  const digit = status === 'bounced' ? '5' : '4'
  return {
    outcome: { ...outcome, status, enhanced: enhanced ?? `${digit}${outcome.enhanced.slice(1)}`, rule: { name } },
    ruled: {
      times: { ...before.times, [name]: (before.times[name] ?? 0) + 1 },
      since: { ...before.since, [name]: before.since[name] ?? now },
    },
  }
}

/** When the rule that decided gives the recipient up; null: not before the queue lifetime ends. */
export function givesUpAt(rule: RetryRule | undefined, { since }: Ruled): number | null {
  return rule?.then.giveUpAfter === undefined ? null : since[rule.name]! + rule.then.giveUpAfter
}

export interface Deferral {
  now: number
  /** Attempts that reached the wire, with this one. */
  attempts: number
  rule: RetryRule | undefined
  /** How often the rule has decided, with this time. */
  times: number
  schedule: RetrySchedule
  /** 0 to 1. */
  random: number
}

/**
 * When to try again. By the rule's schedule, else the pause doubles from the minimal to the maximal backoff time (RFC 5321
 * section 4.5.4.1). Up to a tenth is added by `random`, so that messages deferred together do not come back together.
 */
export function nextAttemptAt({ now, attempts, rule, times, schedule, random }: Deferral): number {
  return Math.round(now + (pauseOf(rule, times, schedule) ?? doubled(attempts, schedule)) * (1 + 0.1 * random))
}

function pauseOf(rule: RetryRule | undefined, times: number, { minimalBackoffTime, maximalBackoffTime }: RetrySchedule): number | null {
  if (!rule) return null
  const { schedule, factors, for: once } = rule.then
  const at = (list: number[]) => list[Math.min(times, list.length) - 1]!
  if (schedule) return at(schedule)
  if (factors) return Math.min(at(factors) * minimalBackoffTime, maximalBackoffTime)
  return once ?? null
}

function doubled(attempts: number, { minimalBackoffTime, maximalBackoffTime }: RetrySchedule): number {
  return Math.min(minimalBackoffTime * 2 ** Math.min(Math.max(attempts, 1) - 1, 40), maximalBackoffTime)
}

/** Milliseconds that a message of this sender stays queued (RFC 5321 section 4.5.4.1): the first class that fits, else the default. */
export function queueLifetime(reversePath: string, user: string | null, retry: Lifetimes): number {
  if (reversePath === '') return retry.bounceQueueLifetime
  const fits = ({ from, users }: Lifetimes['lifetimes'][number]) => one(from, (pattern) => fitsSender(pattern, reversePath)) && one(users, (name) => name === user)
  return retry.lifetimes.find(fits)?.lifetime ?? retry.maximalQueueLifetime
}

export interface Lifetimes {
  maximalQueueLifetime: number
  bounceQueueLifetime: number
  lifetimes: { from?: string[] | undefined; users?: string[] | undefined; lifetime: number }[]
}
