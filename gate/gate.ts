// The gate before every attempt: refuses it, lets it wait in line, or gives it a place. It decides from memory, which destinations.ts keeps
// in step with Postgres, so that an attempt that may go costs no statement. One gate for each process.

import type { Logger } from 'pino'
import type { Outcome } from '../mail/outcome.ts'
import type { Settings } from '../settings/schema.ts'
import { postgresTime } from '../store/clock.ts'
import type { DestinationRow } from '../store/destinations.ts'
import { createCircuits, healthOf } from './circuit.ts'
import { limitFor, whyLimited } from './limits.ts'
import { createMeter, type End, type Meter, patience } from './meter.ts'
import { watchSlow } from './slow.ts'
import { probing, standing } from './standing.ts'
import { trafficOf } from './traffic.ts'
import type { Entered, Entry, Gate, GateControl, GateLink, Limit, Refusal } from './types.ts'

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
  const slow = watchSlow({ fastLane, concurrency: settings.concurrency, slowest })
  const circuits = createCircuits({ link, failures: settings.circuitFailures, log })
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
    if (entry.network && !shared) slow.begun(meter)
    const stopped = waits ? standing(rowsOf(entry), meterOf, settings.resumeOver) : null
    if (stopped) {
      end(false)
      return stopped
    }
    if (probed !== undefined && !(await link.claimProbe(probed).catch(() => false))) {
      end(false)
      return probing(probed, link.rows().get(probed), meterOf)
    }
    return { kind: 'pass', slow: entry.network && slow.isSlow(meter), leave: (outcomes) => leave(entry, end, probed, outcomes) }
  }

  function isFull(meter: Meter, limit: Limit): boolean {
    return meter.full(limit, postgresTime()) || (limit.slow === true && slow.crowded())
  }

  /** What an attempt has to go by, or why there is none now. */
  async function admit(entry: Entry) {
    const rows = rowsOf(entry)
    const limited = limitFor([entry.destination, entry.nextHop], rows, settings.limits)
    const name = limited?.name ?? entry.destination
    const meter = meterOf(name)
    const refusal = standing(rows, meterOf, settings.resumeOver)
    const limit = limited && !refusal ? await link.share(name, limited.limit) : byDefault(entry, meter)
    return { refusal, name, meter, limit, shared: limited?.limit ?? null, seen: rows.find((row) => row.name === name), probed: rows.find((row) => row.circuitUntil)?.name }
  }

  function byDefault(entry: Entry, meter: Meter): Limit {
    const lasts = entry.network && slow.lasts(meter)
    return { concurrency: lasts ? settings.concurrency : null, rate: null, slow: lasts }
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
      if (meter.underWay() === 0) slow.ended(meter)
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
    const why = limit.slow ? slow.why(name) : whyLimited(name, shared ?? limit)
    return { kind: 'refused', name, until: new Date(meter.refuse(limit, postgresTime())), why, seen }
  }

  function rowsOf({ destination, nextHop }: Entry): DestinationRow[] {
    return [...new Set([destination, nextHop])].map((name) => link.rows().get(name)).filter((row) => row !== undefined)
  }

  function leave({ id, destination }: Entry, end: End, probed: string | undefined, outcomes: Outcome[] | null): void {
    const health = healthOf(outcomes)
    end(health !== 'unknown')
    if (outcomes && health !== 'unknown') link.count(destination, trafficOf(outcomes))
    circuits.ended({ id, destination, probed, health, text: outcomes?.[0]?.text ?? '', failing: meterOf(destination).failing })
  }

  function meterOf(name: string): Meter {
    const meter = meters.get(name) ?? createMeter()
    meters.set(name, meter)
    return meter
  }

  function fade(): void {
    for (const [name, meter] of meters) {
      meter.fade()
      if (meter.idle(postgresTime())) meters.delete(name)
    }
  }

  return { look, enter, wake, fade, forgive: (name) => meters.get(name)?.failing.clear(), busy: (name) => meters.get(name)?.busy(postgresTime()) }
}
