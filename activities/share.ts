// A worker's part of a destination's limit: pure, from what all workers have said that they could use.

import { postgresTime } from '../store/clock.ts'
import type { ShareRow } from '../store/destination-shares.ts'
import type { Limit } from './gate.ts'

/** Milliseconds after which the turn of whoever has less than one goes on. */
const turn = 3000

/** What the others still have under way is not there to be taken, even when it is no longer theirs. */
export function shareOf({ concurrency, rate }: Limit, rows: ShareRow[], worker: string): Limit {
  const wants = new Map(rows.map((row) => [row.worker, row.wants]))
  const total = rows.reduce((sum, row) => sum + row.wants, 0)
  const others = rows.filter((row) => row.worker !== worker).reduce((sum, row) => sum + row.underWay, 0)
  return {
    concurrency: concurrency === null ? null : Math.min(wholeShare(concurrency, wants, worker, Math.floor(postgresTime() / turn)), Math.max(0, concurrency - others)),
    rate: rate === null ? null : (rate * wants.get(worker)!) / total,
  }
}

/**
 * This worker's part of a limit that is a whole number: in proportion to what each could use, and over all workers exactly the
 * limit. `turn` moves on with time, so that where there is less than one for each, each has its turn.
 */
export function wholeShare(limit: number, wants: Map<string, number>, worker: string, turn: number): number {
  const workers = [...wants.keys()].sort()
  const total = [...wants.values()].reduce((sum, each) => sum + each, 0)
  if (total === 0) return limit
  const exact = workers.map((name) => (limit * wants.get(name)!) / total)
  const left = limit - exact.reduce((sum, each) => sum + Math.floor(each), 0)
  const order = workers.map((_, i) => i).sort((a, b) => (exact[b]! % 1) - (exact[a]! % 1) || ((a + turn) % workers.length) - ((b + turn) % workers.length))
  const mine = workers.indexOf(worker)
  return Math.floor(exact[mine] ?? 0) + (order.indexOf(mine) < left && mine >= 0 ? 1 : 0)
}
