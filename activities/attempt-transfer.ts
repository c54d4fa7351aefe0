// attemptTransfer: one SMTP attempt for the recipients of one next hop, its hosts tried in order.

import { transferRequest } from './transfer-request.ts'
import { transfer } from '../smtp/transfer.ts'
import { makeAttempt } from './attempt.ts'
import { relayedContent } from './content.ts'
import type { ActivityDeps } from './index.ts'
import type { AttemptArgument, Attempted } from './types.ts'

export async function attemptTransfer(deps: ActivityDeps, argument: AttemptArgument): Promise<Attempted> {
  return await makeAttempt(deps, argument, (delivery) => {
    const content = () => relayedContent(deps.sql, delivery.message)
    return transfer(transferRequest(deps, 'smtp', argument.group, delivery, content), deps)
  })
}
