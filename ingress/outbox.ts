// Sees to it that every committed message is driven by a workflow: after a crash between COMMIT and start, while Temporal was
// away, and when Temporal has lost its state. Any number of processes run one; starting twice is harmless.

import type { Logger } from 'pino'
import type { Sql } from '../store/database.ts'
import { type Became, claimDue, countOutbox, type Driven, putOff } from '../store/outbox.ts'
import { inRounds } from '../store/rounds.ts'

export interface Outbox {
  /** Whether as many messages wait for their start as the limit allows: then no more are accepted. */
  full(): boolean
  /** Counts a message accepted since the last look. */
  accepted(): void
  stop(): Promise<void>
}

export interface OutboxDeps {
  sql: Sql
  /** `overdue`: a workflow that does nothing is made anew. */
  startMessage: (id: string, overdue?: boolean) => Promise<Driven>
  /** Messages that may wait for their start. */
  limit: number
  log: Logger
  /** Milliseconds between two looks. */
  interval?: number
}

/** Starts at a time: as many as Temporal keeps up with. To ask more of one that is slow, as after an outage, would make it slower for the workers, too. */
const [fewest, most] = [5, 50]
/** Milliseconds that they may take together before fewer are asked for. */
const slow = 2000
/** Milliseconds between two lines that say that no worker answers. */
const tellEvery = 60_000

/** Resolves when it knows how many messages wait. */
export async function startOutbox({ sql, startMessage, limit, log, interval = 1000 }: OutboxDeps): Promise<Outbox> {
  let waiting = await countOutbox(sql, limit)
  let atOnce = most
  let [unanswered, toldAt] = [0, Number.NEGATIVE_INFINITY]
  const rounds = inRounds({
    interval,
    async round() {
      waiting = await countOutbox(sql, limit)
      const asked = atOnce
      const due = await claimDue(sql, asked)
      const begun = performance.now()
      const faults: unknown[] = []
      const those = await Promise.all(due.map(async ({ id, driveAt, stuck }): Promise<Became> => {
        const became = await startMessage(id, stuck).catch((fault) => {
          faults.push(fault)
          return 'failed' as const
        })
        return { id, driveAt, became }
      }))
      atOnce = performance.now() - begun > slow ? Math.max(fewest, Math.floor(asked / 2)) : Math.min(most, asked * 2)
      for (const { id, became } of those) {
        if (became === 'anew') log.error({ id }, 'overdue, and its workflow did nothing: it is made anew')
        if (became === 'unanswered') unanswered++
      }
      if (those.length > 0) await putOff(sql, those)
      if (unanswered > 0 && performance.now() - toldAt > tellEvery) {
        log.warn({ workflows: unanswered }, 'no worker answers, or they are far behind: workflows wait for one')
        ;[unanswered, toldAt] = [0, performance.now()]
      }
      if (faults.length > 0) throw faults[0]
      return due.length === asked
    },
    // The rows stay due.
    trouble: (error) => log.warn({ error: String(error) }, 'messages wait for their workflow; tried again every second'),
  })

  return {
    full: () => waiting >= limit,
    accepted: () => {
      waiting++
    },
    stop: rounds.stop,
  }
}
