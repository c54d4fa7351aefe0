// Keeps a process's gate in step with Postgres: hears of changes at once (LISTEN), and looks every second all the same; renews its
// shares of limits, and writes down what came of the attempts.

import type { Logger } from 'pino'
import { createGate, type Gate, type GateLink } from '../activities/gate.ts'
import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import {
  closeCircuit, type DestinationRow, destinationsChannel, openCircuit, readDestinations, releaseWaiting,
} from '../store/destinations.ts'
import { addTraffic, cleanShares, type Traffic } from '../store/destination-shares.ts'
import { keepProbes } from './probes.ts'
import { keepShares } from './shares.ts'

export interface Destinations {
  gate: Gate
  stop(): Promise<void>
}

/** Milliseconds between two looks. */
const interval = 1000
/** Milliseconds for which the circuit waits for a worker that died while it probed. */
const probeTime = 60_000

export function keepDestinations(deps: { sql: Sql; settings: Settings; log: Logger; worker: string; probeTime?: number }): Destinations {
  const { sql, log, worker } = deps
  const probes = keepProbes(sql, deps.probeTime ?? probeTime)
  const settings = deps.settings.destinations
  let rows = new Map<string, DestinationRow>()
  let traffic = new Map<string, Traffic>()
  let stopped = false
  let troubled = false
  let rounds = 0
  let [asked, seen] = [0, 0] // looks

  const link: GateLink = {
    rows: () => rows,
    share: (name, limit) => shares.share(name, limit),
    part: (name) => shares.part(name),
    freed: (name) => shares.freed(name),
    claimProbe: probes.claim,
    releaseProbe: (name) => tell(probes.release(name)),
    openCircuit(name, why) {
      probes.forget(name)
      tell(openCircuit(sql, name, { first: settings.circuitPause, most: settings.circuitMaximalPause }, why.slice(0, 300)).then(look))
    },
    closeCircuit(name) {
      probes.forget(name)
      tell(closeCircuit(sql, name).then(() => releaseWaiting(sql, name, settings.resumeOver)).then(look))
    },
    count,
  }
  // In line they are activities: a quarter of these may be.
  const inLine = Math.floor(deps.settings.worker.activities / 4)
  const slowest = Math.ceil(deps.settings.worker.activities / 2)
  const gate = createGate({ settings, fastLane: deps.settings.transfer.fastLane, inLine, slowest, link, log })
  const shares = keepShares({ sql, worker, busy: gate.busy, wake: gate.wake })

  function count(name: string, { delivered, deferred, bounced, lastAt, lastText }: Traffic): void {
    const before = traffic.get(name) ?? { delivered: 0, deferred: 0, bounced: 0 }
    traffic.set(name, { delivered: before.delivered + delivered, deferred: before.deferred + deferred, bounced: before.bounced + bounced, lastAt, lastText })
  }

  async function look(): Promise<void> {
    const turn = ++asked
    const found = await readDestinations(sql)
    // Of looks that cross, the one that was asked for last knows most: whatever it does not show has notified us since.
    if (turn < seen) return
    seen = turn
    const before = rows
    rows = new Map(found.map((row) => [row.name, row]))
    // Each worker counts failures of its own. Where the circuit stays with those of before, the next one would open it again at once.
    for (const row of found) if (resumed(before.get(row.name), row)) gate.forgive(row.name)
  }

  async function round(): Promise<void> {
    try {
      const counted = traffic
      traffic = new Map()
      if (counted.size > 0) await addTraffic(sql, worker, counted)
      gate.fade()
      await Promise.all([look(), shares.renew(), probes.renew()])
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

/** Whether a circuit was closed, or somebody has said that mail may go: that also shows where the circuit opened and closed between two looks. */
function resumed(before: DestinationRow | undefined, { circuitUntil, suspendedUntil, suspendedAt }: DestinationRow): boolean {
  if (circuitUntil) return false
  return Boolean(before?.circuitUntil) || (!suspendedUntil && suspendedAt?.getTime() !== before?.suspendedAt?.getTime())
}
