// A submission that is to wait (HOLDFOR, RFC 4865), by a user that the listener of this kind knows.

import { dialogue } from '../../ingress/testing.ts'
import type { Everpost } from './everpost.ts'

/** Submits a message from alice@example.test, password wonderland, that is not to be sent before so many seconds; returns its queue id. */
export async function submitLater(everpost: Everpost, to: string, seconds: number): Promise<string> {
  const replies = await dialogue(everpost.ports['submission']!, `
    > EHLO c.test
    < 250
    > AUTH PLAIN ${Buffer.from('\0alice@example.test\0wonderland').toString('base64')}
    < 235
    > MAIL FROM:<alice@example.test> HOLDFOR=${seconds}
    < 250
    > RCPT TO:<${to}>
    < 250
    > DATA
    < 354
    > Subject: later
    > .
    < 250 2.0.0 Ok`, true)
  return /queued as (\w+)/.exec(replies.at(-1)!)![1]!
}
