// The activities as the workflow calls them: first inside the workflow task, where a message that is delivered at once
// costs Temporal the least; then as activities of their own, which Temporal keeps trying while infrastructure is broken.

import { isCancellation, proxyActivities, proxyLocalActivities } from '@temporalio/workflow'
import type { AttemptArgument, Attempted, MessageActivities } from '../activities/types.ts'

const local = proxyLocalActivities<MessageActivities>({
  // Longer than the reply to the final dot may take (RFC 5321 section 4.5.3.2.6); before the dot the activity stops itself.
  startToCloseTimeout: '15 minutes',
  retry: { maximumAttempts: 1 },
})

// A retry policy is for broken infrastructure alone: an activity throws when Postgres is away, never for what a peer does.
const retry = { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '1 minute' } as const

// They do not heartbeat, so this is how long a message waits when the worker that has one of them dies; done twice, none does harm.
const brief = proxyActivities<MessageActivities>({ startToCloseTimeout: '30 seconds', retry })

const long = proxyActivities<MessageActivities>({
  startToCloseTimeout: '2 hours',
  // Not for ever: an attempt that cannot even begin counts as deferred, so that expiry does not depend on it.
  scheduleToCloseTimeout: '4 hours',
  heartbeatTimeout: '1 minute',
  retry,
})

/** Runs an activity in the workflow task, and when infrastructure fails it there, as one that is retried until it works. */
function localFirst<A, R>(first: (argument: A) => Promise<R>, then: (argument: A) => Promise<R>): (argument: A) => Promise<R> {
  return async (argument) => {
    try {
      return await first(argument)
    } catch (error) {
      if (isCancellation(error)) throw error
      return await then(argument)
    }
  }
}

export const stampHeaders = localFirst(local.stampHeaders, brief.stampHeaders)
export const resolveNextHop = localFirst(local.resolveNextHop, brief.resolveNextHop)
export const sendDsn = localFirst(local.sendDsn, brief.sendDsn)
export const control = localFirst(local.control, brief.control)

/** One attempt for a group of recipients, by the agent that serves it; `fastLane` makes its first try in the workflow task. */
export async function attempt(argument: AttemptArgument): Promise<Attempted> {
  const name = argument.group.agent === 'smtp' ? 'attemptTransfer' : 'handOff'
  // A program may run for minutes and cannot be broken off half-way, so it never runs in the workflow task.
  if (!argument.fastLane || argument.group.agent === 'pipe') return await long[name]({ ...argument, fastLane: false })
  const result = await localFirst(local[name], long[name])(argument)
  return result.moved ? await long[name]({ ...argument, fastLane: false }) : result
}
