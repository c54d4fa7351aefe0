// Keeps a process's gate in step with Postgres: hears of changes at once (LISTEN), and looks every second all the same; renews its
// shares of limits, and writes down what came of the attempts.

import type { Logger } from 'pino'
import { createGate, type Gate, type GateLink, type Limit } from '../activities/gate.ts'
import { shareOf } from '../activities/share.ts'
import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import {
  claimProbe, closeCircuit, type DestinationRow, destinationsChannel, openCircuit, readDestinations, releaseProbe, releaseWaiting,
} from '../store/destinations.ts'
import { addTraffic, cleanShares, renewShares, type ShareRow, type Traffic } from '../store/destination-shares.ts'

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
  let shares = new Map<string, ShareRow[]>() // by destination, of each worker
  const limited = new Map<string, Limit>() // of destinations that asked for a share
  let traffic = new Map<string, Traffic>()
  let renewing: Promise<void> | null = null
  let stopped = false
  let troubled = false
  let rounds = 0

  const link: GateLink = {
    rows: () => rows,
    share,
    claimProbe: (name) => claimProbe(sql, name, probeTime),
    releaseProbe: (name) => tell(releaseProbe(sql, name)),
    openCircuit: (name, why) => tell(openCircuit(sql, name, { first: settings.circuitPause, most: settings.circuitMaximalPause }, why.slice(0, 300)).then(look)),
    closeCircuit: (name) => tell(closeCircuit(sql, name).then(() => releaseWaiting(sql, name, settings.resumeOver)).then(look)),
    count,
  }
  const gate = createGate({ settings, fastLane: deps.settings.transfer.fastLane, link, log })

  async function share(name: string, limit: Limit): Promise<Limit> {
    limited.set(name, limit)
    // One renewal at a time for all that ask; the one under way may have begun before this name was among them.
    for (let tries = 0; tries < 2 && !mine(name); tries++) await renewOnce()
    return mine(name) ? shareOf(limit, shares.get(name)!, worker) : limit
  }

  function mine(name: string): ShareRow | undefined {
    return shares.get(name)?.find((row) => row.worker === worker)
  }

  async function renewOnce(): Promise<void> {
    renewing ??= renew().catch(() => {}).finally(() => {
      renewing = null
    })
    await renewing
  }

  async function renew(): Promise<void> {
    if (limited.size === 0) return
    const busy = gate.busy()
    const own = new Map([...limited].map(([name, { concurrency, rate }]) => {
      const { wants, underWay } = busy.get(name) ?? { wants: 0, underWay: 0 }
      // One at least: who asks could use one. And no more than there is: two that could use all of it have the same part.
      const most = Math.max(1, Math.min(concurrency ?? Number.POSITIVE_INFINITY, rate === null ? Number.POSITIVE_INFINITY : Math.ceil(rate)))
      return [name, { wants: Math.min(Math.max(1, wants), most), underWay }] as const
    }))
    for (const name of limited.keys()) if (!busy.has(name) && shares.has(name)) limited.delete(name)
    const rows = await renewShares(sql, worker, own)
    shares = new Map([...own.keys()].map((name) => [name, rows.filter((row) => row.destination === name)]))
  }

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
      await Promise.all([look(), renew()])
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
      await (await listening)?.unlisten().catch(() => {})
    },
  }
}
