// What may be asked of a message by those who speak with Temporal alone: one update for each action, checked before it is taken, done by an
// activity. The command line and the API change the tables themselves (console/control.ts).

import { ApplicationFailure, currentUpdateInfo, setHandler } from '@temporalio/workflow'
import { controlActions, type ControlRequest, type ControlResult, controlWords, refusalOf } from '../mail/control.ts'
import type { Progress } from '../mail/progress.ts'
import { control, isUnknownMessage } from './activities.ts'
import { controlUpdates } from './interface.ts'

interface Asked {
  update: string
  request: ControlRequest
  answer: (result: ControlResult) => void
  fail: (error: unknown) => void
}

export interface Controls {
  /** Whether something is asked that is not done yet. */
  waiting(): boolean
  /** Does what is asked, one after the other. Returns how far the message has come with it; null when nothing was changed. Throws when the message is unknown. */
  run(): Promise<Progress | null>
}

/**
 * Registers the updates; to be called before the workflow waits for anything. `stir` is called when something is asked: the main
 * loop is to `run` it, between its own steps. Beside them it would be done in another order when the workflow is replayed, where
 * the results of local activities come all at once. What the validator cannot know, the activity refuses.
 */
export function handleControl(id: string, stir: () => void): Controls {
  const asked: Asked[] = []
  for (const action of controlActions) {
    const whole = (request: Omit<ControlRequest, 'action'>): ControlRequest => ({ ...request, action })
    setHandler(
      controlUpdates[action],
      (request) => new Promise<ControlResult>((answer, fail) => {
        asked.push({ update: currentUpdateInfo()!.id, request: whole(request), answer, fail })
        stir()
      }),
      {
        description: controlWords[action],
        validator(request) {
          const refusal = refusalOf(whole(request ?? {}))
          if (refusal !== null) throw ApplicationFailure.nonRetryable(refusal, 'Refused')
        },
      },
    )
  }
  return {
    waiting: () => asked.length > 0,
    async run() {
      let progress: Progress | null = null
      for (let next = asked.shift(); next; next = asked.shift()) {
        try {
          const done = await control({ id, update: next.update, request: next.request })
          if ('refused' in done) next.fail(ApplicationFailure.nonRetryable(done.refused, 'Refused'))
          else {
            progress = done.progress
            next.answer(done.result)
          }
        } catch (error) {
          next.fail(error)
          if (isUnknownMessage(error)) throw error
        }
      }
      return progress
    },
  }
}
