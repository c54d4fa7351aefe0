// Keeps a process's gate in step with Postgres: hears of changes at once (LISTEN), and looks every second all the same; renews its
// shares of limits, and writes down what came of the attempts.

import type { Logger } from 'pino'
import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import {
  cleanDestinations, closeCircuit, type DestinationRow, destinationsChannel, openCircuit, readDestinations, releaseWaiting, resumedInPart,
} from '../store/destinations.ts'
import { cleanShares } from '../store/destination-shares.ts'
import { cleanTraffic } from '../store/destination-traffic.ts'
import { inRounds } from '../store/rounds.ts'
import { createGate } from './gate.ts'
import { keepProbes } from './probes.ts'
import { keepShares } from './shares.ts'
import { keepTraffic } from './traffic.ts'
import type { Gate, GateLink } from './types.ts'

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
  const traffic = keepTraffic(sql, worker)
  const settings = deps.settings.destinations
  let rows = new Map<string, DestinationRow>()
  let rounds = 0

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
    count: traffic.count,
  }
  // In line they are activities: a quarter of these may be.
  const inLine = Math.floor(deps.settings.worker.activities / 4)
  const slowest = Math.ceil(deps.settings.worker.activities / 2)
  const gate = createGate({ settings, fastLane: deps.settings.transfer.fastLane, inLine, slowest, link, log })
  const shares = keepShares({ sql, worker, busy: gate.busy, wake: gate.wake })

  const look = oneByOne(async () => {
    const found = await readDestinations(sql)
    const before = rows
    rows = new Map(found.map((row) => [row.name, row]))
    // Each worker counts failures of its own. Where the circuit stays with those of before, the next one would open it again at once.
    for (const name of new Set([...before.keys(), ...rows.keys()])) if (resumed(before.get(name), rows.get(name))) gate.forgive(name)
  })

  async function round(): Promise<boolean> {
    gate.fade()
    // Each for itself: a row that is not renewed lapses, whatever becomes of the figures.
    await Promise.all([traffic.write(), look(), shares.renew(), probes.renew()])
    if (rounds++ % 600 === 0) await Promise.all([cleanShares(sql), cleanTraffic(sql), cleanDestinations(sql), callBackRest()])
    return false
  }

  async function callBackRest(): Promise<void> {
    for (const name of await resumedInPart(sql)) await releaseWaiting(sql, name, settings.resumeOver)
  }

  function tell(change: Promise<unknown>): void {
    change.catch((error) => log.warn({ error: String(error) }, 'a change of a destination was not stored'))
  }

  const keeping = inRounds({
    round, interval, trouble: (error) => log.warn({ error: String(error) }, 'destinations: what is known is kept until Postgres answers'),
  })
  const listening = sql.listen(destinationsChannel, () => void look().catch(() => {})).catch(() => null)

  return {
    gate,
    async stop() {
      await keeping.stop()
      await round().catch(() => {})
      await shares.stop().catch(() => {})
      await (await listening)?.unlisten().catch(() => {})
    },
  }
}

/** Whether a circuit was closed, or somebody has said that mail may go: that also shows where the circuit opened and closed between two looks. */
function resumed(before: DestinationRow | undefined, now: DestinationRow | undefined): boolean {
  if (now?.circuitUntil) return false
  return Boolean(before?.circuitUntil) || (now !== undefined && !now.suspendedUntil && now.suspendedAt?.getTime() !== before?.suspendedAt?.getTime())
}

/** The same, one at a time: whoever asks while one is under way is served by the next, all of them by the same one. */
function oneByOne(once: () => Promise<void>): () => Promise<void> {
  let current: Promise<void> | null = null
  let next: Promise<void> | null = null
  const start = () => {
    current = once().finally(() => { current = null })
    return current
  }
  return () => {
    if (!current && !next) return start()
    next ??= current!.catch(() => {}).then(() => {
      next = null
      return start()
    })
    return next
  }
}
