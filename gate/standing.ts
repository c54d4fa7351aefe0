// What keeps everything from a destination, whatever its limits: a suspension, or an open circuit. Who is refused is given a place in a
// line that the destination's meter keeps.

import { postgresTime } from '../store/clock.ts'
import type { DestinationRow } from '../store/destinations.ts'
import { cheap, type Meter } from './meter.ts'
import type { Refusal } from './types.ts'

/** Milliseconds to wait while another probes. */
const probeWait = 15_000
/** After a suspension so many messages a second come back to each process: mail for others goes on beside them. */
const resumed = 20

type MeterOf = (name: string) => Meter

/** The first that holds, of the rows of an attempt's destination and next hop. `resumeOver`: milliseconds over which those that waited are spread. */
export function standing(rows: DestinationRow[], meterOf: MeterOf, resumeOver: number): Refusal | null {
  const now = postgresTime()
  return rows.map((row) => suspended(row, now, meterOf, resumeOver) ?? broken(row, now, meterOf)).find((refusal) => refusal !== null) ?? null
}

/** Another attempt is this destination's probe. */
export function probing(name: string, seen: DestinationRow | undefined, meterOf: MeterOf): Refusal {
  return behindCircuit(name, seen, postgresTime() + probeWait, `${name} failed before, and another attempt probes it`, meterOf)
}

function suspended(seen: DestinationRow, now: number, meterOf: MeterOf, resumeOver: number): Refusal | null {
  const { name, suspendedUntil, suspendedBy, suspendedWhy } = seen
  if (!suspendedUntil || suspendedUntil.getTime() <= now) return null
  const why = `${name} is suspended until ${suspendedUntil.toISOString()} by ${suspendedBy}${suspendedWhy ? `: ${suspendedWhy}` : ''}`
  const end = suspendedUntil.getTime()
  return { kind: 'refused', name, until: later(meterOf(name).putOff(end, end, resumed), resumeOver), why, seen }
}

function broken(seen: DestinationRow, now: number, meterOf: MeterOf): Refusal | null {
  const { name, circuitUntil, circuitWhy, probeUntil } = seen
  if (!circuitUntil) return null
  // Known without asking: as long as the probe lasts, what waits costs a look, and no activity.
  if (circuitUntil.getTime() <= now) return probeUntil && probeUntil.getTime() > now ? probing(name, seen, meterOf) : null
  return behindCircuit(name, seen, circuitUntil.getTime(), `${name} failed for many messages (${circuitWhy}); it is probed from ${circuitUntil.toISOString()}`, meterOf)
}

/** One after the other, since most of them come in vain: once the circuit is closed, all are called back. */
function behindCircuit(name: string, seen: DestinationRow | undefined, from: number, why: string, meterOf: MeterOf): Refusal {
  const pause = seen?.circuitUntil?.getTime() ?? 0
  return { kind: 'refused', name, until: new Date(meterOf(name).putOff(pause, from, cheap)), why, seen }
}

/** Spread, so that what waited together does not come together. */
function later(at: number, spread: number): Date {
  return new Date(at + Math.random() * spread)
}
