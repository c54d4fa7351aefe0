// The janitor: lets go of bodies, events and idempotency keys whose time is over, and of uploads that a dead ingress left behind. Any number may run.

import type { Logger } from 'pino'
import { discardStaleUploads, releaseBodies } from '../store/bodies.ts'
import type { Sql } from '../store/database.ts'
import { discardEvents } from '../store/events.ts'
import { inRounds, type Rounds } from '../store/rounds.ts'
import { discardKeys } from '../store/submissions.ts'

const batch = 200

/** Cleans every `interval` milliseconds, and again at once while there is more than one batch. */
export function startJanitor({ sql, log, eventsKept, interval = 5000 }: { sql: Sql; log: Logger; eventsKept: number; interval?: number }): Rounds {
  return inRounds({
    interval,
    async round() {
      const done = [await releaseBodies(sql, batch), await discardEvents(sql, eventsKept, batch), await discardKeys(sql, batch)]
      const stale = await discardStaleUploads(sql)
      if (stale > 0) log.info({ stale }, 'half-received bodies discarded')
      return done.includes(batch)
    },
    trouble: (error) => log.warn({ error: String(error) }, 'cleaning up failed; tried again every few seconds'),
  })
}
