// Carries an operator's word to a message's workflow, and starts the workflow where none runs. The workflow acts.

import { type Client, WithStartWorkflowOperation, WorkflowUpdateFailedError } from '@temporalio/client'
import type { ControlAction, ControlRequest, ControlResult } from '../mail/control.ts'
import { controlUpdates, messageWorkflowType, type MessageInput } from '../workflows/interface.ts'

export type Control = (id: string, request: ControlRequest) => Promise<ControlResult | { refused: string }>

/** Nobody could be asked: nothing is known to have changed. */
export class ControlUnanswered extends Error {}

/** Milliseconds in which a worker must answer. */
const patience = 30_000

/** What it returns throws ControlUnanswered when Temporal is away or no worker answers. */
export function messageControl(client: Client, taskQueue: string): Control {
  return async (id, { action, ...request }) => {
    const input: MessageInput = { id }
    try {
      return await client.withDeadline(Date.now() + patience, () =>
        client.workflow.executeUpdateWithStart(controlUpdates[action], {
          args: [request],
          startWorkflowOperation: new WithStartWorkflowOperation(messageWorkflowType, {
            workflowId: id, taskQueue, args: [input], workflowIdConflictPolicy: 'USE_EXISTING',
          }),
        }),
      )
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError) return { refused: error.cause?.message ?? error.message }
      throw new ControlUnanswered(explain(error as Error, action))
    }
  }
}

function explain(error: Error, action: ControlAction): string {
  const cause = (error.cause as { details?: string; code?: number } | undefined) ?? {}
  const code = (error as { code?: number }).code ?? cause.code
  if (code === 4) return `no worker answered within ${patience / 1000} s; whether ${action} was done, everpost show tells`
  if (code === 14) return `Temporal does not answer; whether ${action} was done, everpost show tells`
  return `Temporal: ${cause.details ?? error.message}`
}
