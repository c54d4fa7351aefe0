// The life of a message: resolve what is due, attempt it side by side, wait on a timer, report what failed, end.
// Deterministic: no clock, chance or socket but Temporal's; whatever touches the world is an activity.

import { allHandlersFinished, condition, continueAsNew, isCancellation, log, setHandler, workflowInfo } from '@temporalio/workflow'
import type { Group, Progress } from '../activities/types.ts'
import { attempt, resolveNextHop, sendDsn, stampHeaders } from './activities.ts'
import { type MessageInput, statusQuery, wakeSignal } from './interface.ts'
import { searchable } from './search.ts'
import { newStatus, noteAttempt, noteEnd, noteNext, noteReport, noteStamped } from './status.ts'
import { handleControl } from './updates.ts'

/** Attempts of one message under way at a time. */
const sideBySide = 20
/** History length at which the workflow goes on in a fresh run: far below Temporal's warning at 10,240. */
const longHistory = 2000
/** Pause, in milliseconds, when an attempt could not even be made. */
const troublePause = 60_000

export async function messageWorkflow({ id, attempts }: MessageInput): Promise<void> {
  const status = newStatus(id, attempts ?? [])
  let stirred = false // the wake signal has come, or an attempt has ended
  let look = true // something may be due
  setHandler(statusQuery, () => status)
  setHandler(wakeSignal, () => {
    stirred = true
    look = true
  })
  handleControl(status, () => {
    stirred = true
    look = true
  })

  const stamped = await stampHeaders({ id, clock: Date.now() })
  if (stamped.finished) return await condition(allHandlersFinished)
  noteStamped(status, stamped)
  const search = stamped.searchable ? searchable(status) : null

  const inFlight = new Set<Group>()
  let progress: Progress = { queued: stamped.recipientCount, unreported: 0, nextAt: null, leasedUntil: null, expiresAt: stamped.expiresAt }
  let { delayAt } = stamped
  let untried = attempts === undefined // until the first attempt is made, attempts run inside the workflow task
  let troubleUntil = 0

  async function tryGroup(group: Group, fastLane: boolean): Promise<void> {
    try {
      const result = await attempt({ id, clock: Date.now(), group, fastLane })
      progress = result.progress
      untried &&= result.attempt === null
      noteAttempt(status, result.attempt)
    } catch (error) {
      // A cancelled workflow ends in the main loop; the outbox sees to it that the message is driven on.
      if (isCancellation(error)) return
      log.warn('an attempt could not be made', { nextHop: group.nextHop, error: String(error) })
      untried = false
      troubleUntil = Date.now() + troublePause
      look = true
    } finally {
      inFlight.delete(group)
      stirred = true
    }
  }

  async function launchDue(): Promise<void> {
    const busy = [...inFlight].flatMap((group) => group.recipients)
    look = false
    const plan = await resolveNextHop({ id, clock: Date.now(), busy })
    look ||= plan.more
    progress = plan.progress
    for (const ended of plan.attempts) noteAttempt(status, ended)
    for (const group of plan.groups) {
      inFlight.add(group)
      void tryGroup(group, untried)
    }
  }

  for (;;) {
    const draining = workflowInfo().historyLength > longHistory
    const troubled = Date.now() < troubleUntil
    if (look && !draining && !troubled && inFlight.size < sideBySide) await launchDue()

    if (inFlight.size === 0) {
      if (draining) await condition(allHandlersFinished)
      if (draining) await continueAsNew<typeof messageWorkflow>({ id, attempts: status.attempts.slice(-10) })
      // Nobody is given up before a last attempt at the end of the lifetime; but one that cannot be made counts as made.
      const tried = troubled || (!look && (progress.nextAt === null || progress.nextAt > Date.now()))
      const expire = tried && progress.queued > 0 && progress.leasedUntil === null && Date.now() >= progress.expiresAt
      const delayed = tried && !progress.heldAt && delayAt !== null && Date.now() >= delayAt && progress.queued > 0
      // The reports wait for the attempts under way, so that one report tells of all that failed together.
      if (expire || delayed || (progress.unreported > 0 && (!look || troubled))) {
        status.next = { what: 'a report is sent', at: null }
        progress = (await sendDsn({ id, clock: Date.now(), expire, delayed })).progress
        if (delayed) delayAt = null
        noteReport(status, expire)
        continue
      }
      if (progress.queued + progress.unreported === 0 && !look) {
        await condition(allHandlersFinished)
        if (look) continue
        break
      }
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

  /** When to look again though nothing has stirred; null while only the attempts under way can bring news. */
  function nextWake(): number | null {
    if (Date.now() < troubleUntil) return inFlight.size > 0 ? null : troubleUntil
    if (look) return inFlight.size < sideBySide ? Date.now() : null
    // A lease with nothing of ours in flight is that of an attempt from before this run: its worker may have died.
    const ends = progress.nextAt === null ? [] : [delayAt, progress.expiresAt].filter((at) => at !== null && at > Date.now())
    const dues = [progress.nextAt, ...ends, inFlight.size === 0 ? progress.leasedUntil : null].filter((at) => at !== null)
    return dues.length > 0 ? Math.min(...dues) : null
  }
}
