// What is asked of the gate and what it answers; what it and its parts ask of each other. Types alone: who makes attempts needs no more.

import type { Outcome } from '../mail/outcome.ts'
import type { Traffic } from '../store/destination-traffic.ts'
import type { DestinationRow } from '../store/destinations.ts'

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

export interface Busy {
  underWay: number
  /** How many attempts could be under way if there was no limit. */
  wants: number
}
