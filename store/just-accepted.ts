// What this process has just committed, as the first pass over it would read it: handed over in memory where ingress and worker share
// a process. Only a saving: whoever finds nothing here reads, and the claim looks at the tables as they are.

import { domainOf } from '../mail/address.ts'
import type { NewMessage } from './accept.ts'
import { type Opened, smallBody } from './messages.ts'

export interface JustAccepted {
  /** `at`: when it was accepted, by the clock of Postgres. */
  keep(message: NewMessage, at: Date): void
  /** Once; null when it is not here (any more). */
  take(id: string): Opened | null
}

/** Octets, and milliseconds, for which they are kept: a workflow starts at once, or elsewhere. */
const mostOctets = 8 * 1024 * 1024
const keptFor = 10_000
const mostRecipients = 100

export function createJustAccepted(): JustAccepted {
  const kept = new Map<string, { message: NewMessage; at: Date; since: number }>()
  let octets = 0

  function drop(id: string): void {
    octets -= sizeOf(kept.get(id)!.message)
    kept.delete(id)
  }

  return {
    keep(message, at) {
      const { id, body, sendAt, envelope: { recipients } } = message
      const plain = body !== 'uploaded' && body.length <= smallBody && !sendAt && recipients.length <= mostRecipients && recipients.every(({ expanded }) => expanded === undefined)
      if (!plain) return
      kept.set(id, { message, at, since: performance.now() })
      octets += sizeOf(message)
      // In the order of insertion, and so the oldest first.
      for (const [oldest, { since }] of kept) {
        if (octets <= mostOctets && performance.now() - since < keptFor) break
        drop(oldest)
      }
    },
    take(id) {
      const found = kept.get(id)
      if (!found) return null
      drop(id)
      return performance.now() - found.since < keptFor ? asOpened(found.message, found.at) : null
    },
  }
}

/** With what a message costs beside its body. */
function sizeOf({ body, envelope }: NewMessage): number {
  return body.length + 1000 * (1 + envelope.recipients.length)
}

/** As openMessage would find it. */
function asOpened({ id, kind, parent, envelope, origin, size, lifetime, body }: NewMessage, at: Date): Opened {
  const { reversePath, body: bodyType, smtpUtf8, requireTls, ret, envid, recipients } = envelope
  return {
    message: {
      id, kind, parent, reversePath, bodyType, smtpUtf8, requireTls, ret, envid, size, origin, acceptedAt: at, expiresAt: new Date(at.getTime() + lifetime),
      state: 'queued', startedAt: null, driveAt: null, finishedAt: null, heldAt: null, sendAt: null, bodyReleaseAt: null, bodyReleasedAt: null,
      delayReportedAt: null, trace: null, body: body as Uint8Array as Buffer,
    },
    recipients: recipients.map(({ n, forwardPath, notify, orcpt, verp }) => ({
      n, forwardPath, notify, orcpt, verp: verp ?? null, domain: domainOf(forwardPath), route: null, state: 'queued', text: null, nextAttemptAt: at.toISOString(), due: true,
    })),
    recipientCount: recipients.length,
    untried: true,
  }
}
