// Starts the workflow of a message. Starting twice is harmless: the second finds the first, and tells it to look again at what is due.

import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client'
import type { Settings } from '../settings/schema.ts'
import { messageWorkflowType, type MessageInput, wakeSignal } from '../workflows/interface.ts'

/** `anew`: ends the workflow that is there first; Postgres holds the truth, so nothing is lost with it. */
export type StartMessage = (id: string, anew?: boolean) => Promise<void>

/**
 * `eager` asks Temporal to hand the first workflow task to the worker of this very process: it needs a client whose
 * NativeConnection is the worker's. Rejects when Temporal cannot be reached within ten seconds.
 */
export function workflowStarter(client: Client, settings: Settings, eager: boolean): StartMessage {
  return async (id, anew = false) => {
    const terminate = () => ignoringGone(client.workflow.getHandle(id).terminate('overdue: started anew from the tables'))
    if (anew) await client.withDeadline(Date.now() + 10_000, terminate)
    const input: MessageInput = { id }
    try {
      await client.withDeadline(Date.now() + 10_000, () =>
        client.workflow.start(messageWorkflowType, {
          workflowId: id,
          taskQueue: settings.temporal.taskQueue,
          args: [input],
          requestEagerStart: eager,
        }),
      )
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
      // Postgres says that something is due: its times were moved, or a timer is late. One that has just ended needs no word.
      await client.withDeadline(Date.now() + 10_000, () => ignoringGone(client.workflow.getHandle(id).signal(wakeSignal)))
    }
  }
}

async function ignoringGone(call: Promise<unknown>): Promise<void> {
  await call.catch((error) => {
    if (!(error instanceof WorkflowNotFoundError)) throw error
  })
}
