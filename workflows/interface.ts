// How others speak with a message's workflow: its name, its query, its signal and its updates. Safe to import outside workflows.

import type { UpdateDefinition } from '@temporalio/common'
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow'
import type { ControlAction, ControlRequest, ControlResult } from '../mail/control.ts'
import type { AttemptSummary } from '../activities/types.ts'
import type { MessageStatus } from './status.ts'

export const messageWorkflowType = 'messageWorkflow'

/** Answers what happened to the message, and what happens next and when. */
export const statusQuery = defineQuery<MessageStatus>('status')

/** Something in Postgres has changed: look again at what is due. */
export const wakeSignal = defineSignal('wake')

type ControlUpdate = UpdateDefinition<ControlResult, [Omit<ControlRequest, 'action'>]>

const controlUpdate = (action: ControlAction): ControlUpdate => defineUpdate(action)

/** What an operator may do, each an update of its own name. A wrong request fails with a sentence that says why. */
export const controlUpdates: Record<ControlAction, ControlUpdate> = {
  hold: controlUpdate('hold'), release: controlUpdate('release'), retry: controlUpdate('retry'), reroute: controlUpdate('reroute'),
  expire: controlUpdate('expire'), bounce: controlUpdate('bounce'), drop: controlUpdate('drop'), 'set-lifetime': controlUpdate('set-lifetime'),
}

export interface MessageInput {
  /** The queue id, which is the workflow id as well. */
  id: string
  /** From the run before, when a long history was cut: its latest attempts, for the status. */
  attempts?: AttemptSummary[]
}
