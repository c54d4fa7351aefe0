// attemptTransfer: one SMTP attempt for the recipients of one next hop, its hosts tried in order.

import { transferByWire } from './by-wire.ts'
import { relayedContent } from '../store/bodies.ts'
import { type Deliver, makeAttempt, makeFirstAttempt } from './attempt.ts'
import type { Opened } from '../store/messages.ts'
import type { ActivityDeps } from './index.ts'
import type { AttemptArgument, Attempted } from './types.ts'

export async function attemptTransfer(deps: ActivityDeps, argument: AttemptArgument): Promise<Attempted> {
  return await makeAttempt(deps, argument, bySmtp(deps, argument))
}

/** In the first pass: null when it has to go on as an activity of its own. */
export async function firstTransfer(deps: ActivityDeps, argument: AttemptArgument, opened: Opened): Promise<Attempted | null> {
  return await makeFirstAttempt(deps, argument, bySmtp(deps, argument), opened)
}

function bySmtp(deps: ActivityDeps, { group }: AttemptArgument): Deliver {
  return (delivery) => {
    const content = () => relayedContent(deps.sql, delivery.message)
    return transferByWire(deps, 'smtp', group, delivery, content)
  }
}
