// Carries an operator's word to a message's workflow, and starts the workflow where none runs. The workflow acts.

import { type Client, WithStartWorkflowOperation, WorkflowUpdateFailedError } from '@temporalio/client'
import type { ControlAction, ControlRequest, ControlResult } from '../mail/control.ts'
import { controlUpdates, messageWorkflowType, type MessageInput } from '../workflows/interface.ts'

export type Control = (id: string, request: ControlRequest) => Promise<ControlResult | { refused: string }>

/** Nobody could be asked: nothing is known to have changed. */
export class ControlUnanswered extends Error {}

/** Milliseconds in which a worker must answer. */
const patience = 30_000
/** Messages that are asked at a time. */
const sideBySide = 40

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

export interface Told {
  done: number
  refused: { id: string; error: string }[]
  /** The last that was asked; those before it were asked, too. */
  last: string | null
}

/**
 * Asks all of them. One that does not answer is told like one that refuses; once nobody answers any more the rest is not asked. Throws
 * ControlUnanswered when nobody has answered at all.
 */
export async function controlAll(control: Control, asked: { id: string; request: ControlRequest }[]): Promise<Told> {
  const told: Told = { done: 0, refused: [], last: null }
  const waiting = asked.values()
  let answers = 0
  let fault: unknown = null
  await Promise.all(Array.from({ length: sideBySide }, async () => {
    for (const { id, request } of waiting) {
      told.last = id
      const before = answers
      try {
        const result = await control(id, request)
        answers++
        if ('refused' in result) told.refused.push({ id, error: result.refused })
        else told.done++
      } catch (error) {
        told.refused.push({ id, error: (error as Error).message })
        if (answers === before) fault = error
      }
      if (fault) return
    }
  }))
  if (fault && answers === 0) throw fault
  return told
}

function explain(error: Error, action: ControlAction): string {
  const cause = (error.cause as { details?: string; code?: number } | undefined) ?? {}
  const code = (error as { code?: number }).code ?? cause.code
  if (code === 4) return `no worker answered within ${patience / 1000} s; whether ${action} was done, everpost show tells`
  if (code === 14) return `Temporal does not answer; whether ${action} was done, everpost show tells`
  return `Temporal: ${cause.details ?? error.message}`
}
