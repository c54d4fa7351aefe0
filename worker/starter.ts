// Starts the workflow of a message. Starting twice is harmless: the second finds the first, and tells it to look again at what is due.

import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client'
import type { Settings } from '../settings/schema.ts'
import { messageWorkflowType, type MessageInput, wakeSignal } from '../workflows/interface.ts'

/**
 * `eager` asks Temporal to hand the first workflow task to the worker of this very process: it needs a client whose
 * NativeConnection is the worker's. Rejects when Temporal cannot be reached within ten seconds.
 */
export function workflowStarter(client: Client, settings: Settings, eager: boolean): (id: string) => Promise<void> {
  return async (id) => {
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
      await client.workflow.getHandle(id).signal(wakeSignal).catch((gone) => {
        if (!(gone instanceof WorkflowNotFoundError)) throw gone
      })
    }
  }
}
