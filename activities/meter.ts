// What a process counts for one destination: attempts under way, tokens of a rate, and when those that were refused may come.

import { postgresTime } from '../store/clock.ts'
import type { Limit } from './gate.ts'

export interface Meter {
  /** Milliseconds to wait before the next try, or null: an attempt may go now. */
  wait(limit: Limit, now: number): number | null
  /** An attempt goes; the function is to be called when it has ended, with whether its time tells something of the destination. */
  take(now: number): (telling: boolean) => void
  /** Milliseconds that the longest attempt under way has lasted. */
  longest(now: number): number
  /** Messages whose attempts failed by the host's fault, since the last that did not. */
  failing: Set<string>
  busy(): Busy
  /** Nothing is remembered that matters. */
  idle(now: number): boolean
}

export interface Busy {
  underWay: number
  /** How many attempts could be under way if there was no limit. */
  wants: number
}

/** Refused attempts are asked back so much more often than there is room for them, so that no room is left unused. */
const eager = 2
/** Slow destinations leave long gaps, so there it is more: up to ten times, as long as it stays below so many a second. */
const cheap = 4
/** Nobody is asked back later than this; with a longer queue they look again. */
const longestWait = 3_600_000
/** Of the tokens of a rate, those of so many seconds are kept for a burst, and two at least: whoever comes late finds its own. */
const burstSeconds = 0.5
const remembered = 600_000

export function createMeter(): Meter {
  const underWay = new Set<{ begun: number }>()
  let refused = 0 // lately
  let took = 500 // milliseconds, a running mean
  let promisedUntil = 0
  let tokens = 1
  let filledAt = postgresTime()
  let usedAt = postgresTime()
  let takes = 0 // tokens that the next attempt costs: none without a rate
  const failing = new Set<string>()

  function wait({ concurrency, rate, guard }: Limit, now: number): number | null {
    usedAt = now
    takes = rate === null ? 0 : 1
    if (rate !== null) {
      tokens = Math.min(tokens + (Math.max(0, now - filledAt) / 1000) * rate, Math.max(2, rate * burstSeconds))
      filledAt = now
    }
    const full = concurrency !== null && underWay.size >= concurrency
    if (!full && (rate === null || tokens >= 1)) return null
    refused++
    // Attempts that have not ended tell how long they take at least: a tar pit ends none.
    const each = Math.max(took, 10, longest(now) / 2)
    const perSecond = Math.min(rate ?? Number.POSITIVE_INFINITY, concurrency === null ? Number.POSITIVE_INFINITY : (concurrency * 1000) / each)
    const asked = guard ? Math.min(perSecond, cheap) : Math.max(perSecond * eager, Math.min(perSecond * 10, cheap))
    promisedUntil = Math.max(promisedUntil, now) + 1000 / Math.max(asked, 0.01)
    if (promisedUntil - now <= longestWait) return promisedUntil - now
    promisedUntil = now + longestWait
    return longestWait * (0.5 + Math.random() / 2)
  }

  /** A set keeps the order of what was added, so the first is the oldest. */
  function longest(now: number): number {
    const [oldest] = underWay
    return oldest ? now - oldest.begun : 0
  }

  return {
    wait,
    failing,
    longest,
    take(now) {
      const attempt = { begun: now }
      underWay.add(attempt)
      tokens -= takes
      return (telling) => {
        underWay.delete(attempt)
        usedAt = postgresTime()
        if (telling) took = took * 0.8 + (usedAt - attempt.begun) * 0.2
      }
    },
    busy() {
      const wants = underWay.size + refused
      refused = Math.floor(refused * 0.7)
      return { underWay: underWay.size, wants }
    },
    idle: (now) => underWay.size === 0 && refused === 0 && now - usedAt > remembered && promisedUntil < now,
  }
}
