// Sees to it that every committed message is driven by a workflow: after a crash between COMMIT and start, while Temporal was
// away, and when Temporal has lost its state. Any number of processes run one; starting twice is harmless.

import type { Logger } from 'pino'
import type { Sql } from '../store/database.ts'
import { claimDue, countOutbox, type Driven, putOff } from '../store/outbox.ts'
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
      const starts = await Promise.allSettled(due.map(({ id, stuck }) => startMessage(id, stuck)))
      atOnce = performance.now() - begun > slow ? Math.max(fewest, Math.floor(asked / 2)) : Math.min(most, asked * 2)
      const ids = due.map(({ id }) => id)
      const became = starts.map((start) => (start.status === 'fulfilled' ? start.value : null))
      const those = (what: Driven | null) => ids.filter((_, i) => became[i] === what)
      for (const id of those('anew')) log.error({ id }, 'overdue, and its workflow did nothing: it is made anew')
      if (due[0]) await putOff(sql, due[0].driveAt, [...those('driven'), ...those('anew')], those(null), those('unanswered'))
      unanswered += those('unanswered').length
      if (unanswered > 0 && performance.now() - toldAt > tellEvery) {
        log.warn({ workflows: unanswered }, 'no worker answers, or they are far behind: workflows wait for one')
        ;[unanswered, toldAt] = [0, performance.now()]
      }
      const fault = starts.find((start) => start.status === 'rejected')
      if (fault) throw fault.reason
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
