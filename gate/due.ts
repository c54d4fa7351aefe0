// A worker's part of a destination's limit: pure, from what all workers have said that they could use.

import { postgresTime } from '../store/clock.ts'
import type { ShareRow } from '../store/destination-shares.ts'
import type { Limit } from './types.ts'

/** Milliseconds after which the turn of whoever has less than one goes on. */
const turn = 3000

/** What is due to a worker: places and attempts a second; null: unlimited. A worker that wants nothing is due nothing. */
export function dueTo(worker: string, { concurrency, rate }: Limit, rows: ShareRow[]): Limit {
  const wants = new Map(rows.map((row) => [row.worker, row.wants]))
  const total = rows.reduce((sum, row) => sum + row.wants, 0)
  return {
    concurrency: concurrency === null ? null : wholeShare(concurrency, wants, worker, Math.floor(postgresTime() / turn)),
    rate: rate === null ? null : total === 0 ? 0 : (rate * wants.get(worker)!) / total,
  }
}

/**
 * The places that a worker may hold: those due to it, as far as others have given theirs back; and never fewer than are taken by
 * attempts under way. Over all workers they are no more than the limit, unless the limit was lowered.
 */
export function placesOf(worker: string, concurrency: number, due: number, rows: ShareRow[], underWay: number): number {
  const others = rows.filter((row) => row.worker !== worker).reduce((sum, row) => sum + row.places, 0)
  return Math.max(underWay, Math.min(due, concurrency - others))
}

/**
 * This worker's part of a limit that is a whole number: in proportion to what each could use, and over all workers exactly the
 * limit. `turn` moves on with time, so that where there is less than one for each, each has its turn.
 */
export function wholeShare(limit: number, wants: Map<string, number>, worker: string, turn: number): number {
  const workers = [...wants.keys()].filter((name) => wants.get(name)! > 0).sort()
  const mine = workers.indexOf(worker)
  if (mine < 0) return 0
  const total = workers.reduce((sum, name) => sum + wants.get(name)!, 0)
  const exact = workers.map((name) => (limit * wants.get(name)!) / total)
  const left = limit - exact.reduce((sum, each) => sum + Math.floor(each), 0)
  const order = workers.map((_, i) => i).sort((a, b) => (exact[b]! % 1) - (exact[a]! % 1) || ((a + turn) % workers.length) - ((b + turn) % workers.length))
  return Math.floor(exact[mine]!) + (order.indexOf(mine) < left ? 1 : 0)
}
