// From DATA to 250: streams the body into Postgres, checks it, and commits the message. After the commit it is ours.

import { randomBytes } from 'node:crypto'
import type { Logger } from 'pino'
import type { Envelope, Origin } from '../mail/envelope.ts'
import { makeQueueId } from '../mail/queue-id.ts'
import type { Settings } from '../settings/schema.ts'
import { acceptMessage } from '../store/accept.ts'
import { appendChunk, chunkSize, discardUpload } from '../store/bodies.ts'
import type { Sql } from '../store/database.ts'
import { createBodyCheck } from './body-check.ts'
import { refusal } from './refusal.ts'

export interface AcceptDeps {
  settings: Settings
  sql: Sql
  log: Logger
}

/**
 * Reads the body to its end and stores the message; returns its queue id once the commit is done. Throws a refusal when the
 * body may not be taken, or cannot be stored now; then nothing is kept. Throws the stream's error when the client left.
 */
export async function accept(deps: AcceptDeps, stream: AsyncIterable<Uint8Array>, envelope: Envelope, origin: () => Promise<Origin>, sendAt: Date | null = null): Promise<string> {
  const { settings, sql, log } = deps
  const id = makeQueueId(Date.now(), randomBytes(8))
  const check = createBodyCheck()
  let held: Uint8Array[] = []
  let heldSize = 0
  let uploaded = 0 // chunks
  let storeFault: unknown = null

  const upload = async () => {
    const bytes = Buffer.concat(held)
    held = []
    heldSize = 0
    await appendChunk(sql, id, uploaded++, bytes)
  }
  const refused = () => check.fault() !== null || check.size() > settings.limits.messageSize || check.hops() > settings.limits.hops
  const discard = async () => {
    // Best effort: what stays is swept away later, and counts for nothing without its message row.
    if (uploaded > 0) await discardUpload(sql, id).catch((error) => log.warn({ id, error: String(error) }, 'upload not discarded'))
  }

  try {
    for await (const chunk of stream) {
      check.feed(chunk)
      // Read on to the final dot: only then may the refusal be said.
      if (refused() || storeFault) continue
      held.push(chunk)
      heldSize += chunk.length
      if (heldSize >= chunkSize) await upload().catch((error) => { storeFault = error })
    }
    check.end()
  } catch (error) {
    await discard()
    throw error
  }

  try {
    if (check.fault()) throw refusal(550, `5.6.0 The message holds a ${check.fault()}, which RFC 5321 section 2.3.8 forbids`)
    if (check.size() > settings.limits.messageSize) throw refusal(552, `5.3.4 The message is larger than ${settings.limits.messageSize} octets`)
    if (check.hops() > settings.limits.hops) throw refusal(554, `5.4.6 Too many hops: more than ${settings.limits.hops} Received fields`)
    if (storeFault) throw storeFault
    if (uploaded > 0 && heldSize > 0) await upload()
    const { bounceQueueLifetime, maximalQueueLifetime } = settings.retry
    await acceptMessage(sql, {
      id, kind: 'mail', parent: null, envelope, origin: await origin(), size: check.size(),
      lifetime: envelope.reversePath === '' ? bounceQueueLifetime : maximalQueueLifetime,
      sendAt, body: uploaded > 0 ? 'uploaded' : Buffer.concat(held),
    })
    return id
  } catch (error) {
    await discard()
    if ((error as { responseCode?: number }).responseCode !== undefined) throw error
    log.error({ id, error: String(error) }, 'message not stored: deferred')
    throw refusal(451, '4.3.0 The message cannot be stored now; try again later')
  }
}
