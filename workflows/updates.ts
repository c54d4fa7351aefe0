// What operators may ask of a message: one update for each action, checked before it is taken, done by an activity.

import { ApplicationFailure, currentUpdateInfo, setHandler } from '@temporalio/workflow'
import { controlActions, type ControlRequest, type ControlResult, refusalOf } from '../mail/control.ts'
import { control } from './activities.ts'
import { controlUpdates } from './interface.ts'
import type { MessageStatus } from './status.ts'

/**
 * Registers the updates; to be called before the workflow waits for anything. `look` is called after each, since Postgres
 * has changed. What the validator cannot know, the activity refuses.
 */
export function handleControl(status: MessageStatus, look: () => void): void {
  for (const action of controlActions) {
    const asked = (request: Omit<ControlRequest, 'action'>): ControlRequest => ({ ...request, action })
    setHandler(
      controlUpdates[action],
      async (request): Promise<ControlResult> => {
        const result = await control({ id: status.id, clock: Date.now(), update: currentUpdateInfo()!.id, request: asked(request) })
        if ('refused' in result) throw ApplicationFailure.nonRetryable(result.refused, 'Refused')
        look()
        return result
      },
      {
        validator(request) {
          const refusal = refusalOf(asked(request ?? {}), status.held)
          if (refusal !== null) throw ApplicationFailure.nonRetryable(refusal, 'Refused')
        },
      },
    )
  }
}
