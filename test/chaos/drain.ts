// Peace: the queue empties, for as long as it gets on. What does not get on is a stall, and is described.

import { setTimeout as sleep } from 'node:timers/promises'
import { openDatabase, type Sql } from '../../store/database.ts'
import type { Cluster } from './cluster.ts'
import { describeStalled } from './stalled.ts'

export interface DrainOptions {
  /** Milliseconds in which fewer messages must be queued than before, or it counts as a stall. */
  patience: number
  say: (line: string) => void
}

interface Shape {
  /** Messages; and of their recipients: due, held by a lease, due later, waiting for a report. */
  queued: number
  due: number
  leased: number
  later: number
  unreported: number
}

/** Resolves when the queue is empty, or stalls; false: it stalled. */
export async function drained(cluster: Cluster, { patience, say }: DrainOptions): Promise<boolean> {
  const sql = openDatabase(cluster.postgres.url, 1, 'verdict')
  const begun = Date.now()
  const seconds = () => Math.round((Date.now() - begun) / 1000)
  let least = Number.POSITIVE_INFINITY
  let gotOn = begun
  let told = begun
  let described = false
  try {
    for (;;) {
      // As whatever supervises them would.
      await cluster.keepServers().catch((error) => cluster.note(`in peace: ${error}`))
      const shape = await readShape(sql).catch(() => null)
      if (shape?.queued === 0) return true
      if (shape && shape.queued < least) {
        least = shape.queued
        gotOn = Date.now()
        described = false
      }
      if (Date.now() - told > 15_000) {
        told = Date.now()
        say(`peace for ${seconds()} s: ${shape ? Object.entries(shape).map(([what, count]) => `${what} ${count}`).join(', ') : 'Postgres does not answer'}`)
      }
      const still = Date.now() - gotOn
      // Looked at early, while there is something to see; again when it is given up.
      if (still > patience || (still > 45_000 && !described)) {
        described = true
        for (const line of await describeStalled(cluster, still > patience ? 10 : 2).catch((error) => [String(error)])) say(`for ${Math.round(still / 1000)} s nothing got on: ${line}`)
      }
      if (still > patience) return false
      await sleep(500)
    }
  } finally {
    await sql.end({ timeout: 1 })
  }
}

async function readShape(sql: Sql): Promise<Shape | undefined> {
  const [row] = await sql<Shape[]>`
    select (select count(*) from messages where state = 'queued') as queued,
           count(*) filter (where state = 'queued' and next_attempt_at <= now() and (leased_until is null or leased_until <= now())) as due,
           count(*) filter (where state = 'queued' and leased_until > now()) as leased,
           count(*) filter (where state = 'queued' and next_attempt_at > now() and (leased_until is null or leased_until <= now())) as later,
           count(*) filter (where state in ('bouncing', 'notifying')) as unreported
    from recipients where state in ('queued', 'bouncing', 'notifying')`
  return row
}
