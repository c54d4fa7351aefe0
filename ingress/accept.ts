// From the first octet to the commit: streams a message into Postgres, checks it, and stores it. After the commit it is ours.

import { randomBytes } from 'node:crypto'
import type { Logger } from 'pino'
import type { Envelope, Origin } from '../mail/envelope.ts'
import { makeQueueId } from '../mail/queue-id.ts'
import { queueLifetime } from '../mail/retry.ts'
import { withVerp } from '../mail/verp.ts'
import type { Settings } from '../settings/schema.ts'
import { isAccepted, type NewMessage } from '../store/accept.ts'
import { appendChunk, chunkSize, discardUpload } from '../store/bodies.ts'
import { isDiskFull, leavesOpen, type Sql, whenBack } from '../store/database.ts'
import { createBodyCheck } from './body-check.ts'
import type { Store } from './group-commit.ts'
import { type Reply, reply } from './reply.ts'
import { fieldsInFront } from './submission.ts'

export interface IntakeDeps {
  settings: Settings
  sql: Sql
  /** Commits a message. */
  store: Store
  log: Logger
}

export interface IntakeOptions {
  /** The octets are not lines (BODY=BINARYMIME). */
  binary: boolean
  /** It comes from its author: what its header section lacks is put in front (RFC 6409 section 8). */
  submission: boolean
  /** Whether whoever brings it has gone, so that it need not be stored any more. */
  gone?: () => boolean
  /** Milliseconds of queue lifetime; left out: as the settings say. */
  lifetime?: number
}

/** A message on its way in. Ends by commit or by discard, whatever happens between. */
export interface Intake {
  /** Takes the next octets. Never fails: what is wrong is said at the commit, since only then may a reply go out. */
  write(chunk: Uint8Array): Promise<void>
  size(): number
  /** Stores the message; returns its queue id once the commit is done, or the refusal; then nothing is kept. */
  commit(envelope: Envelope, origin: Origin, sendAt: Date | null): Promise<{ id: string } | { refused: Reply }>
  discard(): Promise<void>
}

export function openIntake({ settings, sql, log, store }: IntakeDeps, { binary, submission, gone, lifetime }: IntakeOptions): Intake {
  const { messageSize, hops, lineLength } = settings.limits
  const id = makeQueueId(Date.now(), randomBytes(8))
  const check = createBodyCheck({ binary, lineLength })
  let held: Uint8Array[] = []
  let heldSize = 0
  let added = 0 // octets put in front
  let uploaded = 0 // chunks
  let storeFault: unknown = null

  async function upload(): Promise<void> {
    const bytes = take()
    await appendChunk(sql, id, uploaded++, bytes)
  }

  /** What is held, in one piece; the first time with what is put in front. */
  function take(): Buffer {
    if (submission && uploaded === 0) {
      const fields = fieldsInFront(Buffer.concat(held), id, settings.hostname, new Date())
      added = fields.length
      held.unshift(fields)
    }
    const bytes = held.length === 1 ? Buffer.from(held[0]!.buffer, held[0]!.byteOffset, held[0]!.byteLength) : Buffer.concat(held)
    held = []
    heldSize = 0
    return bytes
  }

  function fault(): Reply | null {
    if (check.fault()) return reply(550, '5.6.0', `The message holds ${check.fault()}`)
    if (check.size() > messageSize) return reply(552, '5.3.4', `The message is larger than ${messageSize} octets`)
    if (check.hops() > hops) return reply(554, '5.4.6', `Too many hops: more than ${hops} Received fields`)
    return null
  }

  async function discard(): Promise<void> {
    held = []
    // Best effort: what stays is swept away later, and counts for nothing without its message row.
    if (uploaded > 0) await discardUpload(sql, id).catch((error) => log.warn({ id, error: String(error) }, 'upload not discarded'))
    uploaded = 0
  }

  return {
    size: check.size,
    discard,
    async write(chunk) {
      check.feed(chunk)
      if (storeFault !== null || fault() !== null) return
      held.push(chunk)
      heldSize += chunk.length
      if (heldSize >= chunkSize) await upload().catch((error) => { storeFault = error })
    },
    async commit(envelope, origin, sendAt) {
      check.end()
      const refused = fault()
      if (refused) {
        await discard()
        return { refused }
      }
      try {
        if (storeFault !== null) throw storeFault
        if (uploaded > 0 && heldSize > 0) await upload()
        const body = uploaded > 0 ? 'uploaded' as const : take()
        const stored = await certain({ sql, log, store }, {
          id, kind: 'mail', parent: null, origin, sendAt, body, size: check.size() + added,
          envelope: withVerp(envelope.body === '7BIT' && check.eightBit() ? { ...envelope, body: '8BIT' } : envelope, settings.reports.verp),
          lifetime: lifetime ?? queueLifetime(envelope.reversePath, origin.user, settings.retry),
        }, gone)
        if (!stored) return { refused: reply(451, '4.3.0', 'It is not known whether the message was stored; try again later') }
        return { id }
      } catch (error) {
        await discard()
        log.error({ id, error: String(error) }, 'message not stored: deferred')
        return { refused: isDiskFull(error) ? reply(452, '4.3.1', 'No room to store the message; try again later') : reply(451, '4.3.0', 'The message cannot be stored now; try again later') }
      }
    },
  }
}

/** Milliseconds for a database that went away in the middle of a commit to come back and say what became of it. */
const askedFor = 20_000

/**
 * Commits the message. A connection that is lost on the way leaves it open whether it was committed: then the database is asked
 * again; false when it does not come back in time.
 */
async function certain({ sql, log, store }: Pick<IntakeDeps, 'sql' | 'log' | 'store'>, message: NewMessage, gone?: () => boolean): Promise<boolean> {
  try {
    await store(message, gone)
    return true
  } catch (error) {
    if (!leavesOpen(error)) throw error
    const stored = await whenBack(() => isAccepted(sql, message.id), { limit: askedFor }).catch(() => null)
    log.warn({ id: message.id, error: String(error), stored }, 'the connection to Postgres broke at the commit')
    if (stored === false) throw error
    return stored === true
  }
}
