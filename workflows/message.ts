// The life of a message: resolve what is due, attempt it side by side, wait on a timer, report what failed, end.
// Deterministic: no clock, chance or socket but Temporal's; whatever touches the world is an activity.

import { allHandlersFinished, condition, continueAsNew, log, setHandler, workflowInfo } from '@temporalio/workflow'
import type { Group } from '../activities/types.ts'
import type { Progress } from '../mail/progress.ts'
import { attempt, begin, endsRun, isUnknownMessage, resolveNextHop, sendDsn } from './activities.ts'
import { type MessageInput, statusQuery, wakeSignal } from './interface.ts'
import { searchable } from './search.ts'
import { latest, newStatus, noteAttempt, noteEnd, noteNext, noteReport, noteStamped } from './status.ts'
import { handleControl } from './updates.ts'

/** Attempts of one message under way at a time. */
const sideBySide = 20
/** History length from which on the workflow goes on in a fresh run as soon as no attempt is under way, */
const longHistory = 2000
/** and, at so many times that length, whatever is: far below Temporal's warning at 10,240. Hosts that hang must hold up nobody else. */
const tooLong = 4
/** Pause, in milliseconds, when an attempt could not even be made. */
const troublePause = 60_000
/** What is due within so many milliseconds of the clock here may be due by that of Postgres. */
const soon = 5000
/** Milliseconds that a report waits for attempts under way, so that one report tells of all that failed together; and expiry for a last attempt. */
const patience = 900_000
/** Longest pause, in milliseconds, after looks that found nothing, and while nothing is known that would end a wait. */
const longestPause = 60_000

export async function messageWorkflow({ id, attempts }: MessageInput): Promise<void> {
  const status = newStatus(id, attempts ?? [])
  let stirred = false // the wake signal has come, or an attempt has ended
  let look = true // something may be due
  setHandler(statusQuery, () => status, { description: 'what happened to the message, and what happens next and when' })
  setHandler(wakeSignal, () => {
    stirred = true
    look = true
  })
  const controls = handleControl(id, () => {
    stirred = true
  })

  const begun = await begin({ id, clock: Date.now() }, attempts === undefined)
  if (!begun) return await answerLast()
  const { stamped, pass } = begun
  noteStamped(status, stamped)
  const search = stamped.searchable ? searchable(status) : null

  const inFlight = new Set<Group>()
  let progress: Progress = pass?.progress ?? { queued: stamped.recipientCount, unreported: 0, nextAt: null, leasedUntil: null, expiresAt: stamped.expiresAt, heldAt: null }
  let { delayAt } = stamped
  let troubleUntil = 0
  let landed = 0 // attempts that have ended
  let steered = 0 // times that an operator's word was done, or a report sent
  /** When this run saw first that fates are decided and not reported, that the delay report is due, and that the queue lifetime is over. */
  const seen: Record<'unreported' | 'delayed' | 'expired', number | null> = { unreported: null, delayed: null, expired: null }
  let quiet = 0 // milliseconds to wait before what is due is asked for again, since it was not found
  let longFrom: number | null = null // history length at which a fresh run was wanted first

  /** Before this run ends: whoever has asked for something gets an answer. */
  async function answerLast(): Promise<void> {
    while (!allHandlersFinished()) {
      await condition(() => allHandlersFinished() || controls.waiting())
      if (!controls.waiting()) return
      if (await controls.run()) look = true
    }
  }

  /** Nothing could be tried: again later, and expiry does not wait for it. */
  function trouble(what: string, error: unknown): void {
    // A cancelled workflow ends in the main loop, and the outbox sees to it that the message is driven on; so does one whose message is gone.
    if (endsRun(error)) throw error
    log.warn(what, { error: String(error) })
    troubleUntil = Date.now() + troublePause
    look = true
  }

  async function tryGroup(group: Group): Promise<void> {
    const [before, orders] = [landed, steered]
    try {
      const result = await attempt({ id, clock: Date.now(), group })
      progress = result.progress
      // Of attempts side by side, and of an attempt and an operator's word or a report, the last to come back need not be the last that was recorded.
      if (landed !== before || steered !== orders || inFlight.size > 1) look = true
      noteAttempt(status, result.attempt)
    } catch (error) {
      if (isUnknownMessage(error)) look = true // which ends the run
      else if (!endsRun(error)) trouble(`an attempt for ${group.nextHop} could not be made`, error)
    } finally {
      inFlight.delete(group)
      landed++
      stirred = true
    }
  }

  /** Attempts as activities of their own, side by side. */
  function launch(groups: Group[]): void {
    for (const group of groups) {
      inFlight.add(group)
      void tryGroup(group)
    }
  }

  /** Recipients that attempts of this run are under way for. */
  function underWay(): number[] {
    return [...inFlight].flatMap((group) => group.recipients)
  }

  async function launchDue(): Promise<void> {
    const busy = underWay()
    const before = landed
    look = false
    const plan = await resolveNextHop({ id, clock: Date.now(), busy })
    // What has ended meanwhile knows more than a plan that left it out.
    look ||= plan.more || landed !== before
    progress = plan.progress
    const found = plan.groups.length + plan.attempts.length > 0 || (progress.nextAt ?? 0) > Date.now()
    quiet = found ? 0 : Math.min(Math.max(quiet * 2, 1000), longestPause)
    for (const ended of plan.attempts) noteAttempt(status, ended)
    launch(plan.groups)
  }

  /** When a report waits no longer: where many next hops are slow, there are always attempts under way. null: none waits. */
  function overdueAt(): number | null {
    const open = progress.nextAt === null ? [] : [seen.delayed ?? delayAt, seen.expired ?? progress.expiresAt]
    const those = [seen.unreported, ...open].filter((at) => at !== null)
    return those.length > 0 ? Math.min(...those) + patience : null
  }

  /** What a report is due for; null: none is due now. `stuck`: nothing more is tried in this run, or not yet. */
  function dueReport(troubled: boolean, stuck: boolean): { expire: boolean; delayed: boolean } | null {
    const now = Date.now()
    const { queued, unreported, nextAt, leasedUntil, expiresAt, heldAt } = progress
    const late = delayAt !== null && now >= delayAt && queued > 0 && !heldAt
    const over = now >= expiresAt && queued > 0
    for (const [what, is] of [['unreported', unreported > 0], ['delayed', late], ['expired', over]] as const) seen[what] = is ? (seen[what] ?? now) : null
    const alone = inFlight.size === 0
    const overdue = now >= (overdueAt() ?? Number.POSITIVE_INFINITY)
    // Nobody is given up before a last attempt at the end of the lifetime; but one that cannot be made, or whose turn does not come, counts as made.
    const tried = alone && (troubled || (!look && (nextAt === null || nextAt > now)))
    const waited = nextAt !== null && seen.expired !== null && now >= seen.expired + patience
    const expire = over && (waited || (tried && leasedUntil === null))
    const delayed = late && (overdue || tried)
    return expire || delayed || (unreported > 0 && (overdue || (alone && (!look || stuck)))) ? { expire, delayed } : null
  }

  async function report(due: { expire: boolean; delayed: boolean }): Promise<void> {
    const before = landed
    status.next = { what: 'a report is sent', at: null }
    // Their attempts may be past the dot, whatever their leases say.
    const busy = underWay()
    const sent = await sendDsn({ id, clock: Date.now(), ...due, ...(busy.length > 0 ? { busy } : {}) })
    progress = sent.progress
    seen.unreported = null
    // Who is left has the same time again.
    if (due.expire) seen.expired = null
    steered++
    look ||= landed !== before
    if (due.delayed) delayAt = null
    noteReport(status, sent.failed)
  }

  if (pass) {
    look = pass.more || stirred
    for (const ended of pass.attempts) noteAttempt(status, ended)
    launch(pass.moved)
  }
  for (;;) {
    const { historyLength, continueAsNewSuggested } = workflowInfo()
    if (continueAsNewSuggested || historyLength > longHistory) longFrom ??= historyLength
    const troubled = Date.now() < troubleUntil
    if (controls.waiting()) {
      const [before, due] = [landed, look]
      look = false // unless something comes meanwhile
      const now = await controls.run()
      if (now) {
        steered++
        // It knows all; but with attempts under way only a look tells what is due beside them.
        if (inFlight.size === 0 && landed === before) progress = now
        look ||= inFlight.size > 0 || landed !== before || (now.nextAt ?? Number.POSITIVE_INFINITY) <= Date.now() + soon
      } else look ||= due
      continue
    }
    const due = dueReport(troubled, troubled || longFrom !== null)
    if (due) {
      await report(due)
      continue
    }
    if (longFrom !== null && (inFlight.size === 0 || historyLength > longFrom * tooLong)) {
      await answerLast()
      // Attempts under way are handed over by their leases: Temporal cancels their activities, which break off before their final dot and record
      // what comes of it after; the next run looks again when a lease ends.
      await continueAsNew<typeof messageWorkflow>({ id, attempts: latest(status.attempts, 10) })
    }
    if (look && !troubled && inFlight.size < sideBySide) {
      await launchDue().catch((error) => trouble('what is due could not be found', error))
      continue
    }

    if (inFlight.size === 0 && open(progress) === 0 && !look) {
      await answerLast()
      if (!look) break
      continue
    }

    const wakeAt = nextWake()
    noteNext(status, progress, inFlight, wakeAt)
    if (inFlight.size === 0) search?.waiting()
    if (wakeAt === null) await condition(() => stirred)
    else if (wakeAt > Date.now()) await condition(() => stirred, wakeAt - Date.now())
    stirred = false
    if (wakeAt !== null && Date.now() >= wakeAt) look = true
  }
  noteEnd(status)
  search?.ended()

  /** When to look again though nothing has stirred; null while an attempt under way, or an operator, must say something first. */
  function nextWake(): number | null {
    if (Date.now() < troubleUntil) return troubleUntil
    const alone = inFlight.size === 0
    const overdue = alone ? null : overdueAt()
    if (look) return overdue // as many attempts as may be are under way
    if (progress.heldAt && alone) return null
    const ends = progress.nextAt === null ? [] : [delayAt, progress.expiresAt].filter((at) => at !== null && at > Date.now())
    // A lease with nothing of ours in flight is that of an attempt from before this run: its worker may have died.
    const dues = [progress.nextAt, ...ends, alone ? progress.leasedUntil : overdue].filter((at) => at !== null)
    const due = Math.min(...dues)
    // What is due and was not found (by the clock of Postgres it may not be yet, or it is held by a lease) is not asked for without a pause.
    if (dues.length > 0) return due > Date.now() ? due : Date.now() + quiet
    return alone ? Date.now() + longestPause : null
  }
}

function open({ queued, unreported }: Progress): number {
  return queued + unreported
}
