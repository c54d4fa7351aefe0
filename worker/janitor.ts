// The janitor: lets go of bodies, events and idempotency keys whose time is over, and of uploads that a dead ingress left behind. Any number may run.

import type { Logger } from 'pino'
import { discardStaleUploads, releaseBodies } from '../store/bodies.ts'
import type { Sql } from '../store/database.ts'
import { discardEvents, type Looked } from '../store/events.ts'
import { inRounds, type Rounds } from '../store/rounds.ts'
import { discardKeys } from '../store/submissions.ts'

const batch = 200
/** Milliseconds after which old events that a webhook owed, or gave up, are looked at again: till then only newer ones are. */
const again = 3_600_000

/** Cleans every `interval` milliseconds, and again at once while there is more than one batch. */
export function startJanitor({ sql, log, eventsKept, interval = 5000 }: { sql: Sql; log: Logger; eventsKept: number; interval?: number }): Rounds {
  let looked: Looked | null = null
  let wholeAt = performance.now()
  return inRounds({
    interval,
    async round() {
      const done = [await releaseBodies(sql, batch), await discardKeys(sql, batch)]
      if (performance.now() - wholeAt > again) [looked, wholeAt] = [null, performance.now()]
      const page = await discardEvents(sql, eventsKept, batch, looked)
      looked = page ?? looked
      const stale = await discardStaleUploads(sql)
      if (stale > 0) log.info({ stale }, 'half-received bodies discarded')
      return done.includes(batch) || page !== null
    },
    trouble: (error) => log.warn({ error: String(error) }, 'cleaning up failed; tried again every few seconds'),
  })
}
