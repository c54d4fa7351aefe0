// The octets that go out: the fields we prepend, then the body exactly as received.

import { withoutField } from '../mail/headers.ts'
import { returnPathField } from '../mail/trace.ts'
import { readBody } from '../store/bodies.ts'
import type { Sql } from '../store/database.ts'
import type { WholeMessage } from '../store/messages.ts'

/** For relaying: trace fields and body. */
export async function* relayedContent(sql: Sql, message: WholeMessage): AsyncGenerator<Uint8Array> {
  if (message.trace) yield message.trace
  if (message.body) yield message.body
  else yield* readBody(sql, message.id, message.size)
}

/**
 * For final delivery: any earlier Return-Path removed (RFC 5321 section 4.4), ours first; `returnPath` false when the
 * agent writes it itself from the envelope, so that the message never carries two.
 */
export async function* deliveredContent(sql: Sql, message: WholeMessage, returnPath = true): AsyncGenerator<Uint8Array> {
  if (returnPath) yield Buffer.from(returnPathField(message.reversePath))
  yield* withoutField('Return-Path', relayedContent(sql, message))
}
