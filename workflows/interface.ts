// How others speak with a message's workflow: its name, its query and its signal. Safe to import outside workflows.

import { defineQuery, defineSignal } from '@temporalio/workflow'
import type { AttemptSummary } from '../activities/types.ts'
import type { MessageStatus } from './status.ts'

export const messageWorkflowType = 'messageWorkflow'

/** Answers what happened to the message, and what happens next and when. */
export const statusQuery = defineQuery<MessageStatus>('status')

/** Something in Postgres has changed: look again at what is due. */
export const wakeSignal = defineSignal('wake')

export interface MessageInput {
  /** The queue id, which is the workflow id as well. */
  id: string
  /** From the run before, when a long history was cut: its latest attempts, for the status. */
  attempts?: AttemptSummary[]
}
