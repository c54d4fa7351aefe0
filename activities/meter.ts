// What a process counts for one destination: attempts under way, tokens of a rate, and when those that were refused may come.

import type { Limit } from './gate.ts'

export interface Meter {
  /** Milliseconds to wait before the next try, or null: an attempt may go now. */
  wait(limit: Limit, now: number): number | null
  /** An attempt goes. */
  take(): void
  /** It has ended; `took` milliseconds, or null when that tells nothing of the destination. */
  leave(took: number | null): void
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
/** Of the tokens of a rate, those of so many seconds are kept for a burst. */
const burstSeconds = 0.5
const remembered = 600_000

export function createMeter(): Meter {
  let underWay = 0
  let refused = 0 // lately
  let took = 500 // milliseconds, a running mean
  let promisedUntil = 0
  let tokens = 1
  let filledAt = Date.now()
  let usedAt = Date.now()
  let takes = 0 // tokens that the next attempt costs: none without a rate
  const failing = new Set<string>()

  function wait({ concurrency, rate }: Limit, now: number): number | null {
    usedAt = now
    takes = rate === null ? 0 : 1
    if (rate !== null) {
      tokens = Math.min(tokens + ((now - filledAt) / 1000) * rate, Math.max(1, rate * burstSeconds))
      filledAt = now
    }
    const full = concurrency !== null && underWay >= concurrency
    if (!full && (rate === null || tokens >= 1)) return null
    refused++
    const perSecond = Math.min(rate ?? Number.POSITIVE_INFINITY, concurrency === null ? Number.POSITIVE_INFINITY : (concurrency * 1000) / Math.max(took, 10))
    promisedUntil = Math.max(promisedUntil, now) + 1000 / Math.max(perSecond * eager, Math.min(perSecond * 10, cheap), 0.1)
    if (promisedUntil - now <= longestWait) return promisedUntil - now
    promisedUntil = now + longestWait
    return longestWait * (0.5 + Math.random() / 2)
  }

  return {
    wait,
    failing,
    take() {
      underWay++
      tokens -= takes
    },
    leave(milliseconds) {
      underWay--
      usedAt = Date.now()
      if (milliseconds !== null) took = took * 0.8 + milliseconds * 0.2
    },
    busy() {
      const wants = underWay + refused
      refused = Math.floor(refused * 0.7)
      return { underWay, wants }
    },
    idle: (now) => underWay === 0 && refused === 0 && now - usedAt > remembered && promisedUntil < now,
  }
}
