// What a process counts for one destination: attempts under way and in line, tokens of a rate, and when those that were refused may come.

import { postgresTime } from '../store/clock.ts'
import { createLine, type Line } from './line.ts'
import type { Busy, Limit } from './types.ts'

/** To be called when the attempt has ended, with whether its time tells something of the destination. */
export type End = (telling: boolean) => void

export interface Meter {
  /** Whether there is no room for an attempt now. */
  full(limit: Limit, now: number): boolean
  /** Calls back, once, when the rate lets the next attempt go; not at all when it is not the rate that keeps it. */
  callBack(limit: Limit, then: () => void): void
  /** An attempt goes. */
  take(now: number): End
  underWay(): number
  line: Line<End>
  /** Whether one more may wait in line: one who is looking and may come in a moment, who was let through and comes as an activity next, or who is here. */
  room(limit: Limit, now: number, who: 'looking' | 'coming' | 'here'): boolean
  /** When somebody who was refused may try again: a place in the longer line, which is kept on timers. */
  refuse(limit: Limit, now: number): number
  /**
   * The same for all that waits for the end of a pause (at `pause`), not before `from`, so many a second. Each pause has a line of its own, so that
   * a circuit's probe does not wait for those of before.
   */
  putOff(pause: number, from: number, perSecond: number): number
  /** Milliseconds that the longest attempt under way has lasted. */
  longest(now: number): number
  /** Messages whose attempts failed by the host's fault, since the last that did not. */
  failing: Set<string>
  busy(now: number): Busy
  /** To be called about every second: refusals are forgotten as time goes by. */
  fade(): void
  /** Nothing is remembered that matters. */
  idle(now: number): boolean
}

/** Refused attempts are asked back so much more often than there is room for them, so that no room is left unused. */
const eager = 2
/** Slow destinations leave long gaps, so there it is more: up to ten times, as long as it stays below so many a second. */
export const cheap = 4
/** Nobody is asked back later than this; with a longer queue they look again. */
const longestWait = 3_600_000
/** Milliseconds that one may stay in line. As many wait there as find their place in this time, and no more than twice the places, or two seconds of the rate. */
export const patience = 10_000
/** Milliseconds within which an attempt that was let through to the line is there, or went to another worker. */
const onTheWay = 1000
/** Of the tokens of a rate, those of so many seconds are kept for a burst, and two at least: whoever comes late finds its own. */
const burstSeconds = 0.5
const remembered = 600_000
/** Milliseconds for which a destination in use counts as wanted, though nothing is under way at the moment. */
const lately = 2000

export function createMeter(): Meter {
  const underWay = new Set<{ begun: number }>()
  const line = createLine<End>()
  const failing = new Set<string>()
  let expected: number[] = [] // when those who were let through to the line were
  let refused = 0 // lately
  let took = 500 // milliseconds, a running mean
  const places = createPlaces()
  let behind = { pause: 0, places }
  let tokens = 1
  let filledAt = postgresTime()
  let usedAt = postgresTime()
  let called: NodeJS.Timeout | null = null
  let takes = 0 // tokens that the next attempt costs: none without a rate

  function full({ concurrency, rate }: Limit, now: number): boolean {
    usedAt = now
    takes = rate === null ? 0 : 1
    if (rate !== null) {
      tokens = Math.min(tokens + (Math.max(0, now - filledAt) / 1000) * rate, Math.max(2, rate * burstSeconds))
      filledAt = now
    }
    return (concurrency !== null && underWay.size >= concurrency) || (rate !== null && tokens < 1)
  }

  /** Attempts that have not ended tell how long they take at least: a tar pit ends none. */
  function each(now: number): number {
    return Math.max(took, 10, longest(now) / 2)
  }

  function room({ concurrency, rate }: Limit, now: number, who: 'looking' | 'coming' | 'here'): boolean {
    const places = concurrency === null ? Number.POSITIVE_INFINITY : Math.max(concurrency, 1)
    const perSecond = Math.min((places * 1000) / each(now), rate ?? Number.POSITIVE_INFINITY)
    const most = Math.max(2, Math.min(places * 2, perSecond * (patience / 1000), rate === null ? Number.POSITIVE_INFINITY : rate * 2))
    expected = expected.filter((at) => now - at < onTheWay)
    if (who !== 'looking') expected.shift()
    const free = line.length() + expected.length + 1 <= most
    if (free && who !== 'here') expected.push(now)
    return free
  }

  function refuse({ concurrency, rate, slow }: Limit, now: number): number {
    refused++
    const side = concurrency === null ? Number.POSITIVE_INFINITY : Math.max(concurrency, 1)
    const perSecond = Math.min(rate ?? Number.POSITIVE_INFINITY, (side * 1000) / each(now))
    const asked = slow ? Math.min(perSecond, cheap) : Math.max(perSecond * eager, Math.min(perSecond * 10, cheap))
    return places.next(now, asked)
  }

  function putOff(pause: number, from: number, perSecond: number): number {
    if (behind.pause !== pause) behind = { pause, places: createPlaces() }
    return behind.places.next(from, perSecond)
  }

  /** A set keeps the order of what was added, so the first is the oldest. */
  function longest(now: number): number {
    const [oldest] = underWay
    return oldest ? now - oldest.begun : 0
  }

  return {
    full,
    callBack({ concurrency, rate }, then) {
      if (called || rate === null || rate === 0 || tokens >= 1 || (concurrency !== null && underWay.size >= concurrency)) return
      called = setTimeout(() => {
        called = null
        then()
      }, ((1 - tokens) / rate) * 1000)
    },
    room,
    refuse,
    putOff,
    line,
    failing,
    underWay: () => underWay.size,
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
    busy(now) {
      const wants = underWay.size + line.length() + refused
      return { underWay: underWay.size, wants: wants === 0 && now - usedAt < lately ? 1 : wants }
    },
    fade() {
      refused = Math.floor(refused * 0.7)
    },
    idle: (now) => underWay.size === 0 && line.length() === 0 && refused === 0 && now - usedAt > remembered && Math.max(places.last(), behind.places.last()) < now,
  }
}

/** Places in a line that is kept on timers, one after the other. */
function createPlaces() {
  let last = 0
  return {
    last: () => last,
    /** The next place: after `from`, so many a second; with a longer line than the longest wait, somewhere in its second half. */
    next(from: number, perSecond: number): number {
      last = Math.max(last, from) + 1000 / Math.max(perSecond, 0.01)
      if (last - from <= longestWait) return last
      last = from + longestWait
      return from + longestWait * (0.5 + Math.random() / 2)
    },
  }
}
