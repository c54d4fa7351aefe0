// Sees to it that every committed message is driven by a workflow: after a crash between COMMIT and start, while Temporal was
// away, and when Temporal has lost its state. Any number of processes run one; starting twice is harmless.

import type { Logger } from 'pino'
import type { Sql } from '../store/database.ts'
import { claimDue, countOutbox, putOff } from '../store/outbox.ts'
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
  /** `anew`: ends the workflow that is there, and starts another. */
  startMessage: (id: string, anew?: boolean) => Promise<void>
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

/** Resolves when it knows how many messages wait. */
export async function startOutbox({ sql, startMessage, limit, log, interval = 1000 }: OutboxDeps): Promise<Outbox> {
  let waiting = await countOutbox(sql, limit)
  let atOnce = most
  const rounds = inRounds({
    interval,
    async round() {
      waiting = await countOutbox(sql, limit)
      const asked = atOnce
      const due = await claimDue(sql, asked)
      const begun = performance.now()
      for (const { id } of due.filter(({ stuck }) => stuck)) log.error({ id }, 'overdue, and its workflow does nothing: it is made anew')
      const starts = await Promise.allSettled(due.map(({ id, stuck }) => startMessage(id, stuck)))
      atOnce = performance.now() - begun > slow ? Math.max(fewest, Math.floor(asked / 2)) : Math.min(most, asked * 2)
      const ids = due.map(({ id }) => id)
      const failed = ids.filter((_, i) => starts[i]!.status === 'rejected')
      if (due.length > 0) await putOff(sql, ids.filter((id) => !failed.includes(id)), failed)
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
