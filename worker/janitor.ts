// The janitor: lets go of bodies, events and idempotency keys whose time is over, and of uploads that a dead ingress left behind. Any number may run.

import type { Logger } from 'pino'
import { discardStaleUploads, releaseBodies } from '../store/bodies.ts'
import type { Sql } from '../store/database.ts'
import { discardEvents } from '../store/events.ts'
import { discardKeys } from '../store/submissions.ts'

export interface Janitor {
  stop(): Promise<void>
}

const batch = 200

/** Cleans every `interval` milliseconds, and again at once while there is more than one batch. */
export function startJanitor(deps: { sql: Sql; log: Logger; eventsKept: number; interval?: number }): Janitor {
  const { sql, log, eventsKept, interval = 5000 } = deps
  let stopped = false
  let timer: NodeJS.Timeout | undefined
  let round = clean()

  async function clean(): Promise<void> {
    let more = false
    try {
      const done = [await releaseBodies(sql, batch), await discardEvents(sql, eventsKept, batch), await discardKeys(sql, batch)]
      more = done.includes(batch)
      const stale = await discardStaleUploads(sql)
      if (stale > 0) log.info({ stale }, 'half-received bodies discarded')
    } catch (error) {
      log.warn({ error: String(error) }, 'cleaning up failed; tried again later')
    }
    if (!stopped) timer = setTimeout(() => { round = clean() }, more ? 0 : interval)
  }

  return {
    async stop() {
      stopped = true
      clearTimeout(timer)
      await round
    },
  }
}
