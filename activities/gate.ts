// The gate before every attempt: suspensions, circuits, limits. It decides from memory, which worker/destinations.ts keeps in step
// with Postgres, so that an attempt that may go costs no statement. One gate for each process.

import type { Logger } from 'pino'
import type { Outcome } from '../mail/outcome.ts'
import { settingsWrong } from '../mail/verdict.ts'
import type { Settings } from '../settings/schema.ts'
import { postgresTime } from '../store/clock.ts'
import type { DestinationRow } from '../store/destinations.ts'
import type { Traffic } from '../store/destination-shares.ts'
import { type Busy, cheap, createMeter, type End, type Meter, patience } from './meter.ts'

export interface Entry {
  /** Queue id. */
  id: string
  destination: string
  nextHop: string
  /** Over a network: then the limit for slow destinations holds. */
  network: boolean
}

export type Entered = Pass | Refusal | { kind: 'line' }

export interface Pass {
  kind: 'pass'
  /** Attempts at this destination last long, so this one is not made inside a workflow task. */
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
  /** What was known of it; undefined: nothing but what the settings say. */
  seen: DestinationRow | undefined
}

export interface Gate {
  /** Whether an attempt could go now or wait in line; takes nothing. A refusal is a place in the longer line, so it is to be kept to. */
  look(entry: Entry): Promise<Refusal | null>
  /**
   * Lets an attempt go, or not. Where it would have to wait for a place and there is room in line, it does so until `signal` is aborted,
   * for some seconds at most; with null it is told to come back as one that can wait (`line`).
   */
  enter(entry: Entry, signal: AbortSignal | null): Promise<Entered>
}

/** What the process around the gate asks of it. */
export interface GateControl {
  /** What a destination in use could use; undefined when nothing has gone to it for a while. */
  busy(name: string): Busy | undefined
  /** This worker's part of a limit has grown: whoever waits in line for it may come. */
  wake(name: string): void
  /** A circuit was closed, or a suspension was ended by hand: what failed before counts no more. */
  forgive(name: string): void
  /** To be called about every second. */
  fade(): void
}

/** What the gate needs to know and to tell; changes are told to all other workers. */
export interface GateLink {
  rows(): Map<string, DestinationRow>
  /** This worker's part of a limit; asks for one first, where it has none. */
  share(name: string, limit: Limit): Promise<Limit>
  /** The same without asking; null where it has none. */
  part(name: string): Limit | null
  /** An attempt under a limit has ended: a place that is another worker's due can be given back. */
  freed(name: string): void
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
  slow?: boolean
}

/** With many attempts under way, so many milliseconds for one of them tell already that the destination is slow. */
const sluggish = 1000
/** Milliseconds to wait while another probes. */
const probeWait = 15_000
/** After a suspension so many messages a second come back to each process: mail for others goes on beside them. */
const resumed = 20

interface GateOptions {
  settings: Settings['destinations']
  fastLane: number
  /** Attempts that may wait in line, over all destinations. */
  inLine: number
  /** Attempts that may be under way at slow destinations without a limit of their own, over all of them. */
  slowest: number
  link: GateLink
  log: Logger
}

export function createGate({ settings, fastLane, inLine, slowest, link, log }: GateOptions): Gate & GateControl {
  const meters = new Map<string, Meter>()
  const inUse = new Set<Meter>() // those with attempts under way over a network, without a limit of their own
  let lines = 0

  async function look(entry: Entry): Promise<Refusal | null> {
    const { refusal, name, meter, limit, shared, seen } = await admit(entry)
    if (refusal) return refusal
    const full = isFull(meter, limit)
    if (!full || (shared && lines < inLine && meter.room(limit, postgresTime(), 'looking'))) return null
    return refused(name, meter, limit, shared, seen)
  }

  async function enter(entry: Entry, signal: AbortSignal | null): Promise<Entered> {
    const { refusal, name, meter, limit, shared, seen, probed } = await admit(entry)
    if (refusal) return refusal
    const full = isFull(meter, limit)
    const waits = full && shared && lines < inLine && meter.room(limit, postgresTime(), signal ? 'here' : 'coming')
    if (waits && !signal) return { kind: 'line' }
    // Nothing is awaited between the look at the places and the taking of one: two that come together must not both find the last.
    const end = !full ? take(name, meter) : waits ? await stand(name, meter, signal!) : null
    if (!end) return refused(name, meter, limit, shared, seen)
    if (entry.network && !shared) inUse.add(meter)
    const stopped = waits ? standing(rowsOf(entry)) : null
    if (stopped) {
      end(false)
      return stopped
    }
    if (probed !== undefined && !(await link.claimProbe(probed).catch(() => false))) {
      end(false)
      return probing(probed)
    }
    return { kind: 'pass', slow: entry.network && isSlow(meter), leave: (outcomes) => leave(entry, end, probed, outcomes) }
  }

  /** One attempt that lasts is enough to tell; sooner, as many as may go at a time where a host is slow. */
  function isSlow(meter: Meter): boolean {
    const oldest = meter.longest(postgresTime())
    return oldest > fastLane || (oldest > sluggish && meter.underWay() > settings.concurrency)
  }

  function isFull(meter: Meter, limit: Limit): boolean {
    return meter.full(limit, postgresTime()) || (limit.slow === true && crowded())
  }

  /** Whether slow destinations have as many attempts under way as they may have together: they must leave room for the others. */
  function crowded(): boolean {
    let underWay = 0
    for (const meter of inUse) if (meter.longest(postgresTime()) > fastLane) underWay += meter.underWay()
    return underWay >= slowest
  }

  /** What an attempt has to go by, or why there is none now. */
  async function admit(entry: Entry) {
    const rows = rowsOf(entry)
    const limited = limitFor([entry.destination, entry.nextHop], rows)
    const name = limited?.name ?? entry.destination
    const meter = meterOf(name)
    const refusal = standing(rows)
    const slow = entry.network && meter.longest(postgresTime()) > fastLane
    const limit: Limit = limited && !refusal ? await link.share(name, limited.limit) : { concurrency: slow ? settings.concurrency : null, rate: null, slow }
    return { refusal, name, meter, limit, shared: limited?.limit ?? null, seen: rows.find((row) => row.name === name), probed: rows.find((row) => row.circuitUntil)?.name }
  }

  async function stand(name: string, meter: Meter, signal: AbortSignal): Promise<End | null> {
    lines++
    const place = meter.line.wait(patience, signal).finally(() => lines--)
    wake(name)
    return await place
  }

  function take(name: string, meter: Meter): End {
    const end = meter.take(postgresTime())
    return (telling) => {
      end(telling)
      if (meter.underWay() === 0) inUse.delete(meter)
      link.freed(name)
      wake(name)
    }
  }

  function wake(name: string): void {
    const [meter, part] = [meters.get(name), link.part(name)]
    if (!meter || !part) return
    while (meter.line.length() > 0 && !meter.full(part, postgresTime())) meter.line.give(take(name, meter))
    if (meter.line.length() > 0) meter.callBack(part, () => wake(name))
  }

  function refused(name: string, meter: Meter, limit: Limit, shared: Limit | null, seen: DestinationRow | undefined): Refusal {
    const why = limit.slow ? whySlow(name) : describe(name, shared ?? limit)
    return { kind: 'refused', name, until: new Date(meter.refuse(limit, postgresTime())), why, seen }
  }

  function whySlow(name: string): string {
    return `attempts for ${name} last long: ${settings.concurrency} may be under way at a time, and ${slowest} for all such destinations together`
  }

  function rowsOf({ destination, nextHop }: Entry): DestinationRow[] {
    return [...new Set([destination, nextHop])].map((name) => link.rows().get(name)).filter((row) => row !== undefined)
  }

  /** What keeps everything from a destination, whatever the limits. */
  function standing(rows: DestinationRow[]): Refusal | null {
    return rows.map((row) => suspended(row, postgresTime()) ?? broken(row, postgresTime())).find((refusal) => refusal !== null) ?? null
  }

  function leave({ id, destination }: Entry, end: End, probed: string | undefined, outcomes: Outcome[] | null): void {
    const health = outcomes ? healthOf(outcomes) : 'unknown'
    end(health !== 'unknown')
    if (outcomes && health !== 'unknown') link.count(destination, trafficOf(outcomes))
    const { failing } = meterOf(destination)
    if (health === 'well') failing.clear()
    if (health === 'failing') failing.add(id)
    if (probed !== undefined && !link.rows().get(probed)?.circuitUntil) {
      // Closed meanwhile, by an operator's word: what this attempt found counts as what any other finds, and does not undo it.
      link.releaseProbe(probed)
      probed = undefined
    }
    if (probed !== undefined) {
      if (health === 'well') {
        log.info({ destination: probed }, 'circuit closed: the destination answers again')
        link.closeCircuit(probed)
      } else if (health === 'failing') link.openCircuit(probed, outcomes![0]!.text)
      else link.releaseProbe(probed)
    } else if (health === 'failing' && failing.size >= settings.circuitFailures && !link.rows().get(destination)?.circuitUntil) {
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

  function suspended(seen: DestinationRow, now: number): Refusal | null {
    const { name, suspendedUntil, suspendedBy, suspendedWhy } = seen
    if (!suspendedUntil || suspendedUntil.getTime() <= now) return null
    const why = `${name} is suspended until ${suspendedUntil.toISOString()} by ${suspendedBy}${suspendedWhy ? `: ${suspendedWhy}` : ''}`
    const end = suspendedUntil.getTime()
    return { kind: 'refused', name, until: later(meterOf(name).putOff(end, end, resumed), settings.resumeOver), why, seen }
  }

  function broken({ name, circuitUntil, circuitWhy, probeUntil }: DestinationRow, now: number): Refusal | null {
    if (!circuitUntil) return null
    // Known without asking: as long as the probe lasts, what waits costs a look, and no activity.
    if (circuitUntil.getTime() <= now) return probeUntil && probeUntil.getTime() > now ? probing(name) : null
    return behindCircuit(name, circuitUntil.getTime(), `${name} failed for many messages (${circuitWhy}); it is probed from ${circuitUntil.toISOString()}`)
  }

  function probing(name: string): Refusal {
    return behindCircuit(name, postgresTime() + probeWait, `${name} failed before, and another attempt probes it`)
  }

  /** One after the other, since most of them come in vain: once the circuit is closed, all are called back. */
  function behindCircuit(name: string, from: number, why: string): Refusal {
    const seen = link.rows().get(name)
    const pause = seen?.circuitUntil?.getTime() ?? 0
    return { kind: 'refused', name, until: new Date(meterOf(name).putOff(pause, from, cheap)), why, seen }
  }

  function fade(): void {
    for (const [name, meter] of meters) {
      meter.fade()
      if (meter.idle(postgresTime())) meters.delete(name)
    }
  }

  return { look, enter, wake, fade, forgive: (name) => meters.get(name)?.failing.clear(), busy: (name) => meters.get(name)?.busy(postgresTime()) }
}

function describe(name: string, { concurrency, rate }: Limit): string {
  const parts = [concurrency === null ? '' : `${concurrency} attempts at a time`, rate === null ? '' : `${Number((rate * 60).toPrecision(3))} attempts a minute`]
  return `the limit for ${name} is reached: ${parts.filter((part) => part !== '').join(', ')}`
}

/** Spread, so that what waited together does not come together. */
function later(at: number, spread: number): Date {
  return new Date(at + Math.random() * spread)
}

/** Of the host, not of the mail, nor of our settings: whether it answers commands, refuses or loses connections, or was not asked. */
function healthOf(outcomes: Outcome[]): 'well' | 'failing' | 'unknown' {
  const asked = outcomes.filter(({ phase, status, reply, enhanced }) =>
    phase !== 'policy' && !(phase === 'dns' && status === 'bounced') && !(reply === null && enhanced === settingsWrong))
  if (asked.length === 0) return 'unknown'
  const answered = ({ phase, reply, status }: Outcome) =>
    status === 'delivered' || phase === 'local' || (reply !== null && reply.code !== 421 && !['greeting', 'ehlo', 'tls', 'auth'].includes(phase))
  return asked.some(answered) ? 'well' : 'failing'
}

function trafficOf(outcomes: Outcome[]): Traffic {
  const count = (status: Outcome['status']) => outcomes.filter((outcome) => outcome.status === status).length
  const said = outcomes.find(({ status }) => status !== 'delivered') ?? outcomes[0]!
  return { delivered: count('delivered'), deferred: count('deferred'), bounced: count('bounced'), lastAt: new Date(postgresTime()), lastText: said.text.slice(0, 300) }
}
