// The octets that a delivery agent gets.

import { withoutField } from '../mail/headers.ts'
import { returnPathField } from '../mail/trace.ts'
import { relayedContent } from '../store/bodies.ts'
import type { Sql } from '../store/database.ts'
import type { WholeMessage } from '../store/messages.ts'

/**
 * For final delivery: any earlier Return-Path removed (RFC 5321 section 4.4), ours first; `returnPath` false when the
 * agent writes it itself from the envelope, so that the message never carries two.
 */
export async function* deliveredContent(sql: Sql, message: WholeMessage, returnPath = true): AsyncGenerator<Uint8Array> {
  if (returnPath) yield Buffer.from(returnPathField(message.reversePath))
  yield* withoutField('Return-Path', relayedContent(sql, message))
}
