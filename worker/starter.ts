// Starts the workflow of a message. Starting twice is harmless: the second finds the first, and tells it to look again at what is due.

import { type Client, type WorkflowExecutionDescription, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client'
import type { Settings } from '../settings/schema.ts'
import type { Driven } from '../store/outbox.ts'
import { messageWorkflowType, type MessageInput, wakeSignal } from '../workflows/interface.ts'

/** `overdue`: it was told again and again, and nothing has come of it. */
export type StartMessage = (id: string, overdue?: boolean) => Promise<Driven>

/** Milliseconds for Temporal to answer. */
const patience = 10_000

/**
 * `eager` asks Temporal to hand the first workflow task to the worker of this very process: it needs a client whose
 * NativeConnection is the worker's. Rejects when Temporal cannot be reached within ten seconds.
 */
export function workflowStarter(client: Client, settings: Settings, eager: boolean): StartMessage {
  async function start(id: string): Promise<void> {
    const input: MessageInput = { id }
    await client.withDeadline(Date.now() + patience, () =>
      client.workflow.start(messageWorkflowType, { workflowId: id, taskQueue: settings.temporal.taskQueue, args: [input], requestEagerStart: eager }),
    )
  }

  return async (id, overdue = false) => {
    const handle = client.workflow.getHandle(id)
    const inTime = <T>(call: () => Promise<T>) => client.withDeadline(Date.now() + patience, () => unlessGone(call()))
    const found = overdue ? whatItDoes(await inTime(() => handle.describe())) : 'works'
    if (found === 'unanswered') return 'unanswered'
    // Postgres holds the truth, so nothing is lost with it.
    if (found === 'nothing') await inTime(() => handle.terminate('overdue: started anew from the tables'))
    try {
      await start(id)
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
      // Postgres says that something is due: its times were moved, or a timer is late. Where it has ended between the two, it may not have seen that.
      if (await inTime(() => handle.signal(wakeSignal)) === gone) await start(id)
    }
    return found === 'nothing' ? 'anew' : 'driven'
  }
}

/**
 * Of one that was told again and again: its workflow tasks fail, or it has done them and waits for nothing that would end by itself; then
 * it does nothing. A task that nobody has taken yet says that no worker answers, or is far behind: the next one would wait as long.
 */
function whatItDoes(description: WorkflowExecutionDescription | typeof gone): 'nothing' | 'unanswered' | 'works' {
  if (description === gone || description.status.name !== 'RUNNING') return 'works'
  const { pendingWorkflowTask: task, pendingActivities: activities } = description.raw
  if (task) return (task.attempt ?? 1) > 1 ? 'nothing' : task.startedTime ? 'works' : 'unanswered'
  return activities && activities.length > 0 ? 'works' : 'nothing'
}

const gone = Symbol('the workflow is not there')

async function unlessGone<T>(call: Promise<T>): Promise<T | typeof gone> {
  try {
    return await call
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return gone
    throw error
  }
}
