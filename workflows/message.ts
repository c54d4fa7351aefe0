// The life of a message: find what is due, attempt it side by side, wait on a timer, report what failed, end. What comes next is decided in when.ts.
// Deterministic: no clock, chance or socket but Temporal's; whatever touches the world is an activity.

import { allHandlersFinished, condition, continueAsNew, log, setHandler, workflowInfo } from '@temporalio/workflow'
import type { Group } from '../activities/types.ts'
import type { Progress } from '../mail/progress.ts'
import { attempt, begin, endsRun, isUnknownMessage, resolveNextHop, sendDsn } from './activities.ts'
import { type MessageInput, statusQuery, wakeSignal } from './interface.ts'
import { searchable } from './search.ts'
import { latest, newStatus, noteAttempt, noteEnd, noteNext, noteReport, noteReporting, noteStamped } from './status.ts'
import { handleControl } from './updates.ts'
import { type DueReport, historyNow, isDueSoon, newState, nextStep, quietAfter, seenAt, troublePause } from './when.ts'

export async function messageWorkflow({ id, attempts }: MessageInput): Promise<void> {
  const status = newStatus(id, attempts ?? [])
  const state = newState()
  const { inFlight } = state
  /** The wake signal has come, an operator has asked for something, or an attempt has ended: the wait is over. */
  let stirred = false
  /** Attempts that have ended, words of operators that were done, and reports sent: what was under way meanwhile may have been told less. */
  let news = 0
  setHandler(statusQuery, () => status, { description: 'what happened to the message, and what happens next and when' })
  setHandler(wakeSignal, () => {
    stirred = true
    state.look = true
  })
  const controls = handleControl(id, () => {
    stirred = true
  })

  const begun = await begin({ id, clock: Date.now() }, attempts === undefined)
  if (!begun) return await answerLast()
  const { stamped, pass } = begun
  noteStamped(status, stamped)
  const search = stamped.searchable ? searchable(status) : null
  state.delayAt = stamped.delayAt
  state.progress = pass?.progress ?? { ...state.progress, queued: stamped.recipientCount, expiresAt: stamped.expiresAt }
  if (pass) {
    state.look = pass.more || stirred
    for (const ended of pass.attempts) noteAttempt(status, ended)
    launch(pass.moved)
  }

  for (;;) {
    state.history = historyNow(state.history, workflowInfo())
    if (controls.waiting()) {
      const [before, look] = [news, state.look]
      state.look = false // unless something comes meanwhile
      const progress = await controls.run()
      if (progress) steered(progress, before)
      else state.look ||= look
      continue
    }

    const now = Date.now()
    state.seen = seenAt(state, now)
    const step = nextStep(state, now)
    switch (step.what) {
      case 'report':
        await report(step.due)
        break
      case 'look':
        await launchDue().catch((error) => trouble('what is due could not be found', error))
        break
      case 'wait':
        noteNext(status, state.progress, inFlight, step.until)
        if (inFlight.size === 0) search?.waiting()
        if (step.until === null) await condition(() => stirred)
        else if (step.until > now) await condition(() => stirred, step.until - now)
        stirred = false
        if (step.until !== null && Date.now() >= step.until) state.look = true
        break
      case 'continue as new':
        await answerLast()
        // Attempts under way are handed over by their leases: Temporal cancels their activities, which break off before their final dot and record
        // what comes of it after; the next run looks again when a lease ends.
        return await continueAsNew<typeof messageWorkflow>({ id, attempts: latest(status.attempts, 10) })
      case 'end':
        await answerLast()
        if (state.look) break
        noteEnd(status)
        search?.ended()
        return
    }
  }

  /** Finds what is due, and attempts it. */
  async function launchDue(): Promise<void> {
    const before = news
    state.look = false
    const plan = await resolveNextHop({ id, clock: Date.now(), busy: underWay() })
    // What has ended meanwhile knows more than a plan that left it out.
    state.look ||= plan.more || news !== before
    state.progress = plan.progress
    state.quiet = quietAfter(state.quiet, plan, Date.now())
    for (const ended of plan.attempts) noteAttempt(status, ended)
    launch(plan.groups)
  }

  /** Attempts as activities of their own, side by side. */
  function launch(groups: Group[]): void {
    for (const group of groups) {
      inFlight.add(group)
      void tryGroup(group)
    }
  }

  async function tryGroup(group: Group): Promise<void> {
    const before = news
    try {
      const result = await attempt({ id, clock: Date.now(), group })
      state.progress = result.progress
      // Of attempts side by side, and of an attempt and an operator's word or a report, the last to come back need not be the last that was recorded.
      if (news !== before || inFlight.size > 1) state.look = true
      noteAttempt(status, result.attempt)
    } catch (error) {
      if (isUnknownMessage(error)) state.look = true // which ends the run
      else if (!endsRun(error)) trouble(`an attempt for ${group.nextHop} could not be made`, error)
    } finally {
      inFlight.delete(group)
      news++
      stirred = true
    }
  }

  /** Recipients that attempts of this run are under way for. */
  function underWay(): number[] {
    return [...inFlight].flatMap((group) => group.recipients)
  }

  async function report(due: DueReport): Promise<void> {
    const before = news
    noteReporting(status)
    // Their attempts may be past the dot, whatever their leases say.
    const busy = underWay()
    const sent = await sendDsn({ id, clock: Date.now(), ...due, ...(busy.length > 0 ? { busy } : {}) })
    state.progress = sent.progress
    state.look ||= news !== before
    news++
    state.seen.unreported = null
    // Who is left has the same time again.
    if (due.expire) state.seen.expired = null
    if (due.delayed) state.delayAt = null
    noteReport(status, sent.failed)
  }

  /** An operator's word was done, which began when there had been so much news `before`. */
  function steered(progress: Progress, before: number): void {
    // It knows all; but with attempts under way only a look tells what is due beside them.
    const knowsAll = inFlight.size === 0 && news === before
    if (knowsAll) state.progress = progress
    state.look ||= !knowsAll || isDueSoon(progress, Date.now())
    news++
  }

  /** Nothing could be tried: again later, and expiry does not wait for it. */
  function trouble(what: string, error: unknown): void {
    // A cancelled workflow ends in the main loop, and the outbox sees to it that the message is driven on; so does one whose message is gone.
    if (endsRun(error)) throw error
    log.warn(what, { error: String(error) })
    state.troubleUntil = Date.now() + troublePause
    state.look = true
  }

  /** Before this run ends: whoever has asked for something gets an answer. */
  async function answerLast(): Promise<void> {
    while (!allHandlersFinished()) {
      await condition(() => allHandlersFinished() || controls.waiting())
      if (!controls.waiting()) return
      if (await controls.run()) state.look = true
    }
  }
}
