// Destinations where attempts last long, and that have no limit of their own: they must leave room for the others.

import { postgresTime } from '../store/clock.ts'
import type { Meter } from './meter.ts'

/** With many attempts under way, so many milliseconds for one of them tell already that the destination is slow. */
const sluggish = 1000

export interface SlowOptions {
  /** Milliseconds; an attempt under way for longer makes its destination slow. */
  fastLane: number
  /** Attempts that may be under way at one of them. */
  concurrency: number
  /** Over all of them. */
  slowest: number
}

export interface Slow {
  /** Whether an attempt under way has lasted for long. */
  lasts(meter: Meter): boolean
  /** The same, told sooner: for what is to be kept out of workflow tasks. */
  isSlow(meter: Meter): boolean
  /** Attempts are under way there, over a network and without a limit of their own. */
  begun(meter: Meter): void
  /** None is any more. */
  ended(meter: Meter): void
  /** Whether slow destinations have as many attempts under way as they may have together. */
  crowded(): boolean
  /** Why an attempt at this one is refused. */
  why(name: string): string
}

export function watchSlow({ fastLane, concurrency, slowest }: SlowOptions): Slow {
  const inUse = new Set<Meter>()
  const lasts = (meter: Meter) => meter.longest(postgresTime()) > fastLane
  return {
    lasts,
    // One attempt that lasts is enough to tell; sooner, as many as may go at a time where a host is slow.
    isSlow: (meter) => lasts(meter) || (meter.longest(postgresTime()) > sluggish && meter.underWay() > concurrency),
    begun: (meter) => void inUse.add(meter),
    ended: (meter) => void inUse.delete(meter),
    crowded() {
      let underWay = 0
      for (const meter of inUse) if (lasts(meter)) underWay += meter.underWay()
      return underWay >= slowest
    },
    why: (name) => `attempts for ${name} last long: ${concurrency} may be under way at a time, and ${slowest} for all such destinations together`,
  }
}
