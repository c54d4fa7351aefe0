// How far a message has come: what its workflow is told by each step, and decides by.

/** Times are milliseconds since 1970. */
export interface Progress {
  /** Recipients still to be delivered to. */
  queued: number
  /** Recipients whose fate is decided, and whose report is not yet committed: bouncing and notifying. */
  unreported: number
  /** When the next recipient not held by an attempt is due; null when there is none. */
  nextAt: number | null
  /** When the first lease ends of those that are held; null when none is. */
  leasedUntil: number | null
  /** End of the queue lifetime; while the message is on hold, far away. */
  expiresAt: number
  /** Since when the message is on hold: nothing is due until it is released. */
  heldAt: number | null
  /** While no attempt is possible for some of them: at which destination, and why. Not there where nobody looked. */
  waits?: { destination: string; why: string } | null
}
