// control: what an operator asked of the message, done and recorded in Postgres. The workflow then looks at what is due.

import type { Outcome } from '../mail/outcome.ts'
import { byOperator } from '../mail/verdict.ts'
import { controlMessage } from '../store/control.ts'
import { isOfData } from '../store/database.ts'
import { readMessage } from '../store/messages.ts'
import type { ActivityDeps } from './index.ts'
import { logSettled } from './log-settled.ts'
import type { ControlArgument, Controlled } from './types.ts'

export async function control(deps: ActivityDeps, { id, clock, update, request }: ControlArgument): Promise<Controlled> {
  const done = await controlMessage(deps.sql, id, request, update, clock, deps.settings.retention).catch((error) => {
    // To ask again would be refused again, and the message would stand still with it.
    if (isOfData(error)) return { refused: `it cannot be stored: ${(error as Error).message}` }
    throw error
  })
  const { action, who, why } = request
  if ('refused' in done) {
    deps.log.info({ id, action, who, refused: done.refused }, 'operator refused')
    return done
  }
  const { reached, ...controlled } = done
  deps.log.info({ id, action, who, why, recipients: done.result.count, busy: done.result.busy }, 'operator')
  // What is bounced or expired has its line when it is settled.
  if (action === 'drop') await logDropped(deps, id, reached, byOperator('dropped', request.why))
  return controlled
}

async function logDropped(deps: ActivityDeps, id: string, reached: string[], { enhanced: dsn, text }: Outcome): Promise<void> {
  // It is done, whether it can be told or not.
  const message = await readMessage(deps.sql, id).catch(() => null)
  if (message) for (const to of reached) logSettled(deps, message, { to, status: 'bounced', dsn, text })
}
