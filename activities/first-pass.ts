// firstPass: what a message needs when all goes well, in one local activity: stamp, resolve, attempt every group side by side. One,
// since each costs Temporal an event and the worker a turn. What does not end here goes on as activities of their own.

import { UnknownMessage } from '../mail/unknown-message.ts'
import { openMessage, stampMessage } from '../store/messages.ts'
import { readProgress } from '../store/recipients.ts'
import { firstTransfer } from './attempt-transfer.ts'
import { firstHandOff } from './hand-off.ts'
import type { ActivityDeps } from './index.ts'
import { planFor, progressOf, recipientsInPlan } from './resolve-next-hop.ts'
import { stampedOf, traceOf } from './stamp-headers.ts'
import type { Attempted, AttemptSummary, FirstPass, Group, MessageArgument } from './types.ts'

/**
 * Asks of each process only what it has room for: of the places for local activities three quarters go to attempts, so that hosts
 * that take long cannot keep a message from being moved on.
 */
const share = 0.75

let inside = 0

export async function firstPass(deps: ActivityDeps, { id, clock }: MessageArgument): Promise<FirstPass | null> {
  const opened = deps.justAccepted.take(id) ?? await openMessage(deps.sql, id, new Date(clock), recipientsInPlan)
  if (!opened) throw new UnknownMessage()
  if (opened.message.state === 'finished') return null
  const { recipients, recipientCount } = opened
  const trace = traceOf(deps, opened.message, recipients)
  const message = { ...opened.message, trace }
  const due = recipients.filter((recipient) => recipient.due)
  const plan = await planFor(deps, { id, clock }, due, trace)

  // A pass lasts until the last reply to a dot is there: next hops beyond those that it takes would wait for one that is silent.
  const enter = !plan.more && inside < deps.settings.worker.activities * share
  if (enter) inside++
  let results: (Attempted | null)[]
  try {
    results = enter ? await Promise.all(plan.groups.map((group) => firstAttempt(group))) : plan.groups.map(() => null)
  } finally {
    if (enter) inside--
  }
  const attempts = [...plan.attempts, ...results.map((result) => result?.attempt)].filter((attempt): attempt is AttemptSummary => Boolean(attempt))
  // Where no claim has kept the stamp.
  if (attempts.length === 0) await stampMessage(deps.sql, id, trace)
  const moved = plan.groups.filter((_, i) => results[i] === null)
  const others = moved.flatMap((group) => group.recipients)
  const only = results.length === 1 ? results[0] : null
  return {
    stamped: stampedOf(deps, message, recipients, recipientCount),
    progress: only?.progress ?? (attempts.length > 0 ? await readProgress(deps.sql, id, others) : await progressOf(deps, id, others)),
    attempts, moved, more: plan.more || recipientCount > recipients.length,
  }

  async function firstAttempt(group: Group): Promise<Attempted | null> {
    // A program may run for minutes and cannot be broken off half-way, so it never runs in the workflow task.
    if (group.agent === 'pipe') return null
    const attempt = group.agent === 'smtp' ? firstTransfer : firstHandOff
    return await attempt(deps, { id, clock, group }, { ...opened!, message }).catch((error) => {
      // The others must be waited for, so it is no failure of the pass; if the database is away, the pass finds out by itself.
      deps.log.warn({ id, nextHop: group.nextHop, error: String(error) }, 'a first attempt broke off')
      return null
    })
  }
}
