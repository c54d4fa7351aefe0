// The gate before every attempt: suspensions, circuits, limits. It decides from memory, which worker/destinations.ts keeps in step
// with Postgres, so that an attempt that may go costs no statement. One gate for each process.

import type { Logger } from 'pino'
import type { Outcome } from '../mail/outcome.ts'
import type { Settings } from '../settings/schema.ts'
import { postgresTime } from '../store/clock.ts'
import type { DestinationRow } from '../store/destinations.ts'
import type { Traffic } from '../store/destination-shares.ts'
import { type Busy, createMeter, type Meter } from './meter.ts'

export interface Entry {
  /** Queue id. */
  id: string
  destination: string
  nextHop: string
  /** Over a network: then the limit for slow destinations holds. */
  network: boolean
}

export type Entered = Pass | Refusal

export interface Pass {
  kind: 'pass'
  /** Attempts at this destination have lasted longer than `fastLane` allows: this one will, too. */
  slow: boolean
  /** To be called once, with what came of the attempt; null when it came to no verdict. */
  leave(outcomes: Outcome[] | null): void
}

export interface Refusal {
  kind: 'refused'
  /** Whose suspension, circuit or limit it is. */
  name: string
  until: Date
  why: string
}

export interface Gate {
  /** Whether an attempt could go now; takes nothing. A refusal is a place in the line, so it is to be kept to. */
  look(entry: Entry): Promise<Refusal | null>
  enter(entry: Entry): Promise<Entered>
}

/** What the gate needs to know and to tell; changes are told to all other workers. */
export interface GateLink {
  rows(): Map<string, DestinationRow>
  /** This worker's part of a limit; asks for one first, where it has none. */
  share(name: string, limit: Limit): Promise<Limit>
  claimProbe(name: string): Promise<boolean>
  releaseProbe(name: string): void
  openCircuit(name: string, why: string): void
  closeCircuit(name: string): void
  count(name: string, traffic: Traffic): void
}

/** Attempts at a time, and attempts a second; null: unlimited. */
export interface Limit {
  concurrency: number | null
  rate: number | null
  /** The default for slow ones, which guards the others rather than this one: it need not be made full use of. */
  guard?: boolean
}

/** Milliseconds to wait while another probes. */
const probeWait = 15_000

export function createGate({ settings, fastLane, link, log }: { settings: Settings['destinations']; fastLane: number; link: GateLink; log: Logger }): Gate & { busy(): Map<string, Busy> } {
  const meters = new Map<string, Meter>()

  async function look(entry: Entry): Promise<Refusal | null> {
    const found = await admit(entry)
    return 'kind' in found ? found : null
  }

  async function enter(entry: Entry): Promise<Entered> {
    const found = await admit(entry, true)
    if ('kind' in found) return found
    const { probed, slow, end } = found
    if (probed !== undefined && !(await link.claimProbe(probed).catch(() => false))) {
      end(false)
      return { kind: 'refused', name: probed, until: later(postgresTime() + probeWait, probeWait), why: `${probed} failed before, and another attempt probes it` }
    }
    return { kind: 'pass', slow, leave: (outcomes) => leave(entry, end, probed, outcomes) }
  }

  /** What an attempt may go by, or why not now. */
  async function admit(entry: Entry, take = false): Promise<{ probed: string | undefined; slow: boolean; end: (telling: boolean) => void } | Refusal> {
    const names = [...new Set([entry.destination, entry.nextHop])]
    const now = postgresTime()
    const rows = names.map((name) => link.rows().get(name)).filter((row) => row !== undefined)
    for (const row of rows) {
      const refusal = suspended(row, now) ?? broken(row, now)
      if (refusal) return refusal
    }
    const limited = limitFor(names, rows)
    const name = limited?.name ?? entry.destination
    const meter = meterOf(name)
    const slow = entry.network && meter.longest(now) > fastLane
    const limit = limited ? await link.share(name, limited.limit) : { concurrency: slow ? settings.concurrency : null, rate: null, guard: true }
    const wait = meter.wait(limit, postgresTime())
    if (wait !== null) return { kind: 'refused', name, until: new Date(postgresTime() + wait), why: describe(name, limited?.limit ?? limit) }
    // Taken here, where nothing is awaited between: two that come together must not both find the last place.
    const late = meter.longest(postgresTime()) > fastLane
    return { probed: rows.find((row) => row.circuitUntil)?.name, slow: late, end: take ? meter.take(postgresTime()) : () => {} }
  }

  function leave({ id, destination }: Entry, end: (telling: boolean) => void, probed: string | undefined, outcomes: Outcome[] | null): void {
    const health = outcomes ? healthOf(outcomes) : 'unknown'
    end(health !== 'unknown')
    if (outcomes && health !== 'unknown') link.count(destination, trafficOf(outcomes))
    const { failing } = meterOf(destination)
    if (health === 'well') failing.clear()
    if (health === 'failing') failing.add(id)
    if (probed !== undefined) {
      if (health === 'well') {
        log.info({ destination: probed }, 'circuit closed: the destination answers again')
        link.closeCircuit(probed)
      } else if (health === 'failing') link.openCircuit(probed, outcomes![0]!.text)
      else link.releaseProbe(probed)
    } else if (failing.size >= settings.circuitFailures && !link.rows().get(destination)?.circuitUntil) {
      log.warn({ destination, messages: failing.size, text: outcomes![0]!.text }, 'circuit opened: one attempt at a time probes the destination')
      link.openCircuit(destination, outcomes![0]!.text)
    }
  }

  /** The limit that an operator or the settings set for one of the names. */
  function limitFor(names: string[], rows: DestinationRow[]): { name: string; limit: Limit } | null {
    const row = rows.find((row) => row.concurrency !== null || row.rate !== null)
    if (row) return { name: row.name, limit: row }
    const set = settings.limits.find(({ destination }) => names.includes(destination))
    return set ? { name: set.destination, limit: set } : null
  }

  function meterOf(name: string): Meter {
    const meter = meters.get(name) ?? createMeter()
    meters.set(name, meter)
    return meter
  }

  function suspended({ name, suspendedUntil, suspendedBy, suspendedWhy }: DestinationRow, now: number): Refusal | null {
    if (!suspendedUntil || suspendedUntil.getTime() <= now) return null
    const why = `${name} is suspended until ${suspendedUntil.toISOString()} by ${suspendedBy}${suspendedWhy ? `: ${suspendedWhy}` : ''}`
    return { kind: 'refused', name, until: later(suspendedUntil.getTime(), settings.resumeOver), why }
  }

  function broken({ name, circuitUntil, circuitWhy }: DestinationRow, now: number): Refusal | null {
    if (!circuitUntil || circuitUntil.getTime() <= now) return null
    const why = `${name} failed for many messages (${circuitWhy}); it is probed from ${circuitUntil.toISOString()}`
    return { kind: 'refused', name, until: later(circuitUntil.getTime(), settings.resumeOver), why }
  }

  /** What each destination in use could use; forgets those that nothing has gone to for a while. */
  function busy(): Map<string, Busy> {
    for (const [name, meter] of meters) if (meter.idle(postgresTime())) meters.delete(name)
    return new Map([...meters].map(([name, meter]) => [name, meter.busy()]))
  }

  return { look, enter, busy }
}

function describe(name: string, { concurrency, rate }: Limit): string {
  const parts = [concurrency === null ? '' : `${concurrency} attempts at a time`, rate === null ? '' : `${Number((rate * 60).toPrecision(3))} attempts a minute`]
  return `the limit for ${name} is reached: ${parts.filter((part) => part !== '').join(', ')}`
}

/** Spread, so that what waited together does not come together. */
function later(at: number, spread: number): Date {
  return new Date(at + Math.random() * spread)
}

/** Of the host, not of the mail: whether it answers commands, refuses or loses connections, or was not asked. */
function healthOf(outcomes: Outcome[]): 'well' | 'failing' | 'unknown' {
  const asked = outcomes.filter(({ phase }) => phase !== 'policy')
  if (asked.length === 0) return 'unknown'
  const answered = ({ phase, reply, status }: Outcome) =>
    status === 'delivered' || phase === 'local' || (reply !== null && reply.code !== 421 && !['greeting', 'ehlo', 'tls', 'auth'].includes(phase))
  return asked.some(answered) ? 'well' : 'failing'
}

function trafficOf(outcomes: Outcome[]): Traffic {
  const count = (status: Outcome['status']) => outcomes.filter((outcome) => outcome.status === status).length
  const said = outcomes.find(({ status }) => status !== 'delivered') ?? outcomes[0]!
  return { delivered: count('delivered'), deferred: count('deferred'), bounced: count('bounced'), lastAt: new Date(), lastText: said.text.slice(0, 300) }
}
