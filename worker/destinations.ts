// Keeps a process's gate in step with Postgres: hears of changes at once (LISTEN), and looks every second all the same; renews its
// shares of limits, and writes down what came of the attempts.

import type { Logger } from 'pino'
import { createGate, type Gate, type GateLink } from '../activities/gate.ts'
import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import {
  claimProbe, closeCircuit, type DestinationRow, destinationsChannel, openCircuit, readDestinations, releaseProbe, releaseWaiting,
} from '../store/destinations.ts'
import { addTraffic, cleanShares, type Traffic } from '../store/destination-shares.ts'
import { keepShares } from './shares.ts'

export interface Destinations {
  gate: Gate
  stop(): Promise<void>
}

/** Milliseconds between two looks, and how long a probe has before another may go. */
const interval = 1000
const probeTime = 120_000

export function keepDestinations(deps: { sql: Sql; settings: Settings; log: Logger; worker: string }): Destinations {
  const { sql, log, worker } = deps
  const settings = deps.settings.destinations
  let rows = new Map<string, DestinationRow>()
  let traffic = new Map<string, Traffic>()
  let stopped = false
  let troubled = false
  let rounds = 0

  const link: GateLink = {
    rows: () => rows,
    share: (name, limit) => shares.share(name, limit),
    part: (name) => shares.part(name),
    freed: (name) => shares.freed(name),
    claimProbe: (name) => claimProbe(sql, name, probeTime),
    releaseProbe: (name) => tell(releaseProbe(sql, name)),
    openCircuit: (name, why) => tell(openCircuit(sql, name, { first: settings.circuitPause, most: settings.circuitMaximalPause }, why.slice(0, 300)).then(look)),
    closeCircuit: (name) => tell(closeCircuit(sql, name).then(() => releaseWaiting(sql, name, settings.resumeOver)).then(look)),
    count,
  }
  // In line they are activities: a quarter of these may be.
  const inLine = Math.floor(deps.settings.worker.activities / 4)
  const gate = createGate({ settings, fastLane: deps.settings.transfer.fastLane, inLine, link, log })
  const shares = keepShares({ sql, worker, busy: gate.busy, wake: gate.wake })

  function count(name: string, { delivered, deferred, bounced, lastAt, lastText }: Traffic): void {
    const before = traffic.get(name) ?? { delivered: 0, deferred: 0, bounced: 0 }
    traffic.set(name, { delivered: before.delivered + delivered, deferred: before.deferred + deferred, bounced: before.bounced + bounced, lastAt, lastText })
  }

  async function look(): Promise<void> {
    rows = new Map((await readDestinations(sql)).map((row) => [row.name, row]))
  }

  async function round(): Promise<void> {
    try {
      const counted = traffic
      traffic = new Map()
      if (counted.size > 0) await addTraffic(sql, worker, counted)
      gate.fade()
      await Promise.all([look(), shares.renew()])
      if (rounds++ % 600 === 0) await cleanShares(sql)
      troubled = false
    } catch (error) {
      if (!troubled) log.warn({ error: String(error) }, 'destinations: what is known is kept until Postgres answers')
      troubled = true
    }
  }

  function tell(change: Promise<unknown>): void {
    change.catch((error) => log.warn({ error: String(error) }, 'a change of a destination was not stored'))
  }

  let rounding = round()
  const timer = setInterval(() => {
    rounding = rounding.then(() => (stopped ? undefined : round()))
  }, interval)
  const listening = sql.listen(destinationsChannel, () => void look().catch(() => {})).catch(() => null)

  return {
    gate,
    async stop() {
      stopped = true
      clearInterval(timer)
      await rounding
      await round()
      await shares.stop().catch(() => {})
      await (await listening)?.unlisten().catch(() => {})
    },
  }
}
