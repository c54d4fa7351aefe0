// What the workflow of a message does next, and until when it waits. Pure: decided from one value and the time, with nothing of Temporal.
// Mail in flight has made these decisions already: where they change, its histories must still replay (test/replay).

import type { Group, Plan } from '../activities/types.ts'
import type { Progress } from '../mail/progress.ts'

/** Attempts of one message under way at a time. */
const sideBySide = 20
/** History length from which on the workflow goes on in a fresh run as soon as no attempt is under way, */
const longHistory = 2000
/** and, at so many times that length, whatever is: far below Temporal's warning at 10,240. Hosts that hang must hold up nobody else. */
const tooLong = 4
/** Milliseconds that a report waits for attempts under way, so that one report tells of all that failed together; and expiry for a last attempt. */
const patience = 900_000
/** Milliseconds for which nothing is tried after an attempt could not even be made. */
export const troublePause = 60_000
/** Shortest and longest pause, in milliseconds, after looks that found nothing; the longest, too, while nothing is known that would end a wait. */
const [shortestPause, longestPause] = [1000, 60_000]
/** What is due within so many milliseconds of the clock here may be due by that of Postgres. */
const soon = 5000

/** All that decides what comes next. Times are milliseconds since 1970. */
export interface State {
  /** As the step that came back last has told. */
  progress: Progress
  /** When the delay report is due; null when it is made, or never. */
  delayAt: number | null
  /** Attempts under way. */
  inFlight: Set<Group>
  /** Something may be due: Postgres is to be asked. */
  look: boolean
  /** Milliseconds to wait before what is due is asked for again, since it was not found. */
  quiet: number
  /** Nothing is tried until then. */
  troubleUntil: number
  /** Since when this run sees that fates are decided and not reported, that the delay report is due, and that the queue lifetime is over; null: it is not so. */
  seen: Record<'unreported' | 'delayed' | 'expired', number | null>
  /** Events of this run, and how many they were when a fresh run was wanted first; null: it is not. */
  history: { length: number; longFrom: number | null }
}

/** Of a message of which nothing is known yet. */
export function newState(): State {
  return {
    progress: { queued: 0, unreported: 0, nextAt: null, leasedUntil: null, expiresAt: Number.POSITIVE_INFINITY, heldAt: null },
    delayAt: null, inFlight: new Set(), look: true, quiet: 0, troubleUntil: 0,
    seen: { unreported: null, delayed: null, expired: null }, history: { length: 0, longFrom: null },
  }
}

/** What a report is for, beside all whose fate is decided. */
export interface DueReport {
  /** Whoever is still queued is given up. */
  expire: boolean
  /** The sender is told of the delay. */
  delayed: boolean
}

export type Step =
  | { what: 'report'; due: DueReport }
  | { what: 'continue as new' }
  | { what: 'look' }
  | { what: 'end' }
  /** null: an attempt under way, or an operator, must say something first. */
  | { what: 'wait'; until: number | null }

/** The next step, where `seen` and `history` are those of `now`. Reports come first, so that they wait for nothing that takes long or fails. */
export function nextStep(state: State, now: number): Step {
  const { progress: { queued, unreported }, inFlight, look, history: { length, longFrom } } = state
  const due = dueReport(state, now)
  if (due) return { what: 'report', due }
  if (longFrom !== null && (inFlight.size === 0 || length > longFrom * tooLong)) return { what: 'continue as new' }
  if (look && !inTrouble(state, now) && inFlight.size < sideBySide) return { what: 'look' }
  if (!look && inFlight.size === 0 && queued + unreported === 0) return { what: 'end' }
  return { what: 'wait', until: nextWake(state, now) }
}

/** `seen` at `now`: what it says already stays as long as it is so. */
export function seenAt({ progress: { queued, unreported, expiresAt, heldAt }, delayAt, seen }: State, now: number): State['seen'] {
  const since = (before: number | null, isSo: boolean) => (isSo ? (before ?? now) : null)
  return {
    unreported: since(seen.unreported, unreported > 0),
    delayed: since(seen.delayed, queued > 0 && heldAt === null && delayAt !== null && now >= delayAt),
    expired: since(seen.expired, queued > 0 && now >= expiresAt),
  }
}

/** What Temporal says of this run's history now. */
export function historyNow({ longFrom }: State['history'], told: { historyLength: number; continueAsNewSuggested: boolean }): State['history'] {
  const long = told.continueAsNewSuggested || told.historyLength > longHistory
  return { length: told.historyLength, longFrom: longFrom ?? (long ? told.historyLength : null) }
}

/** `quiet` after a look: none when it has found somebody, or when the next is due; else twice the one before. */
export function quietAfter(quiet: number, { groups, attempts, progress }: Omit<Plan, 'more'>, now: number): number {
  const found = groups.length + attempts.length > 0 || (progress.nextAt ?? 0) > now
  return found ? 0 : Math.min(Math.max(quiet * 2, shortestPause), longestPause)
}

/** Whether a look may find somebody, whose clock ever is right. */
export function isDueSoon({ nextAt }: Progress, now: number): boolean {
  return nextAt !== null && nextAt <= now + soon
}

/** What a report is due for; null: none is due now. */
function dueReport(state: State, now: number): DueReport | null {
  const { progress: { nextAt, leasedUntil }, inFlight, look, seen, history } = state
  const alone = inFlight.size === 0
  const troubled = inTrouble(state, now)
  const overdue = now >= (overdueAt(state) ?? Number.POSITIVE_INFINITY)
  // Nobody is given up before a last attempt at the end of the lifetime; but one that cannot be made, or whose turn does not come, counts as made.
  const tried = alone && (troubled || (!look && (nextAt === null || nextAt > now)))
  const waited = nextAt !== null && seen.expired !== null && now >= seen.expired + patience
  const expire = seen.expired !== null && (waited || (tried && leasedUntil === null))
  const delayed = seen.delayed !== null && (overdue || tried)
  // More may fail with what a look finds, unless nothing is tried in this run any more, or not yet.
  const complete = alone && (!look || troubled || history.longFrom !== null)
  const decided = seen.unreported !== null && (overdue || complete)
  return expire || delayed || decided ? { expire, delayed } : null
}

/** When a report waits no longer: where many next hops are slow, there are always attempts under way. null: none waits. */
function overdueAt({ progress: { nextAt, expiresAt }, delayAt, seen }: State): number | null {
  const ofQueued = nextAt === null ? [] : [seen.delayed ?? delayAt, seen.expired ?? expiresAt]
  const since = [seen.unreported, ...ofQueued].filter((at) => at !== null)
  return since.length > 0 ? Math.min(...since) + patience : null
}

/** When to look again though nothing has stirred; never before `now`. null: as for Step. */
function nextWake(state: State, now: number): number | null {
  const { progress: { nextAt, leasedUntil, expiresAt, heldAt }, delayAt, inFlight, look, quiet, troubleUntil } = state
  if (inTrouble(state, now)) return troubleUntil
  if (look) return overdueAt(state) // as many attempts as may be are under way
  const alone = inFlight.size === 0
  if (heldAt !== null && alone) return null
  const ends = nextAt === null ? [] : [delayAt, expiresAt].filter((at) => at !== null && at > now)
  // A lease with nothing of ours in flight is that of an attempt from before this run: its worker may have died.
  const dues = [nextAt, ...ends, alone ? leasedUntil : overdueAt(state)].filter((at) => at !== null)
  const due = Math.min(...dues)
  // What is due and was not found (by the clock of Postgres it may not be yet, or it is held by a lease) is not asked for without a pause.
  if (dues.length > 0) return due > now ? due : now + quiet
  return alone ? now + longestPause : null
}

function inTrouble({ troubleUntil }: State, now: number): boolean {
  return now < troubleUntil
}
