// Starts the workflow of a message. Starting twice is harmless: the second finds the first, and tells it to look again at what is due.

import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client'
import type { Settings } from '../settings/schema.ts'
import { messageWorkflowType, type MessageInput, wakeSignal } from '../workflows/interface.ts'

/** `anew`: ends the workflow that is there first; Postgres holds the truth, so nothing is lost with it. */
export type StartMessage = (id: string, anew?: boolean) => Promise<void>

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

  return async (id, anew = false) => {
    const handle = client.workflow.getHandle(id)
    if (anew) await client.withDeadline(Date.now() + patience, () => unlessGone(handle.terminate('overdue: started anew from the tables')))
    try {
      await start(id)
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
      // Postgres says that something is due: its times were moved, or a timer is late.
      const told = await client.withDeadline(Date.now() + patience, () => unlessGone(handle.signal(wakeSignal)))
      // It has ended between the two, and may not have seen what is due now.
      if (!told) await start(id)
    }
  }
}

/** Whether the workflow was there to be asked. */
async function unlessGone(call: Promise<unknown>): Promise<boolean> {
  try {
    await call
    return true
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false
    throw error
  }
}
