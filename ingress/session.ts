// One client's session: what it has said so far, and the loop that reads a command, has it answered, and goes on.

import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Logger } from 'pino'
import type { Envelope, Recipient, Tls } from '../mail/envelope.ts'
import type { Listener, Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import type { Intake } from './accept.ts'
import { runCommand } from './commands.ts'
import type { Counters } from './counters.ts'
import type { Store } from './group-commit.ts'
import type { Limits } from './limits.ts'
import type { MailParameters } from './parameters.ts'
import type { Recipients } from './recipients.ts'
import { farewell, type Reply, reply } from './reply.ts'
import type { User } from './submission.ts'
import type { Users } from './users.ts'
import { ConversationOver, createWire, type Wire } from './wire.ts'

/** What all sessions of one listener share. */
export interface Edge {
  settings: Settings
  listener: Listener
  /** AUTH is asked for, and the client is the author's own program. */
  submission: boolean
  sql: Sql
  store: Store
  log: Logger
  counters: Counters
  limits: Limits
  recipients: Recipients
  users: Users
  /** Clients that may relay without AUTH. */
  trusts(address: string): boolean
  /** Clients whose XCLIENT is believed. */
  isProxy(address: string): boolean
  reverse(address: string): Promise<string | null>
  outboxFull(): boolean
  /** Tells the queue of a committed message. */
  accepted(id: string): void
  hasTls: boolean
  /** Makes TLS of a socket on which nobody listens; rejects when the handshake fails. */
  upgrade(socket: Socket): Promise<TLSSocket>
}

/** From MAIL to the end of the message, or RSET. */
export interface Transaction {
  reversePath: string
  parameters: MailParameters
  recipients: Recipient[]
  /** RCPT commands that were accepted: LMTP answers each of them. */
  accepted: number
  refused: boolean
  /** The message, once its first octet is due. */
  intake: Intake | null
  /** A BDAT was refused: so are those after it. */
  failed: boolean
  deadline: number
}

export interface Session {
  edge: Edge
  wire: Wire
  client: { address: string; port: number; name: Promise<string | null> }
  /** What a trusted proxy has told of the client by XCLIENT so far; null: nobody may tell, or the client is named and its turn has come. */
  told: Record<string, string | null> | null
  /** How the client has introduced itself; null: not yet. */
  greeted: 'HELO' | 'EHLO' | 'LHLO' | null
  helo: string
  tls: Tls | null
  user: User | null
  transaction: Transaction | null
  errors: number
  /** Commands since the last message that bring none nearer. */
  idleCommands: number
  authFailures: number
  /** Octets of a message are being read: a stop waits for its end. */
  inMessage: boolean
  stopping: boolean
}

export const newTransaction = (reversePath: string, parameters: MailParameters): Transaction =>
  ({ reversePath, parameters, recipients: [], accepted: 0, refused: false, intake: null, failed: false, deadline: 0 })

/** Ends the transaction; what has come of its message is thrown away, unless it is committed. */
export async function reset(session: Session): Promise<void> {
  const { transaction } = session
  session.transaction = null
  await transaction?.intake?.discard()
}

/** Everything the client has said is forgotten (RFC 3207 section 4.2). */
export async function forget(session: Session): Promise<void> {
  await reset(session)
  Object.assign(session, { greeted: null, helo: '', user: null })
}

export function banner({ edge }: Session): Reply {
  return reply(220, null, `${edge.settings.hostname} ${edge.listener.kind === 'lmtp' ? 'LMTP' : 'ESMTP'} Everpost`)
}

export function tlsOf(socket: Socket): Tls | null {
  if (!(socket instanceof TLSSocket)) return null
  return { version: socket.getProtocol() ?? '', cipher: socket.getCipher()?.standardName ?? '', verified: false }
}

export function createSession(edge: Edge, socket: Socket, address: string, port: number): Session {
  return {
    edge, wire: createWire(socket, edge.settings.limits.idleTime), client: { address, port, name: edge.reverse(address) },
    told: edge.isProxy(address) ? {} : null, greeted: null, helo: '', tls: tlsOf(socket), user: null, transaction: null, errors: 0, idleCommands: 0, authFailures: 0, inMessage: false, stopping: false,
  }
}

/** Asks the session to end: at once when it waits for a command, else after the message that is coming in. */
export function stopSession(session: Session): void {
  session.stopping = true
  if (!session.inMessage) session.wire.interrupt(stopped)
}

const stopped = reply(421, '4.3.2', 'The service is stopping')

/** Serves the client to the end of the connection. `refused`: said instead of the greeting. Never throws. */
export async function serve(session: Session, refused: Reply | null): Promise<void> {
  const { edge } = session
  try {
    // What the client has sent by now it has sent unasked. Two turns of the event loop let the octets in that are here already.
    for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate)
    const early = session.wire.pending()
    if (early) edge.counters.count('protocol.earlyTalker')
    const greeting = refused ?? (early ? farewell(554, '5.5.1', 'Wait for the greeting before you speak') : banner(session))
    session.wire.say(greeting)
    if (!greeting.close) await converse(session)
  } catch (error) {
    if (!(error instanceof ConversationOver)) edge.log.error({ client: session.client.address, error: String(error) }, 'a session failed')
    const last = error instanceof ConversationOver ? error.farewell : reply(421, '4.3.0', 'Something is wrong here; try again later')
    if (last?.enhanced === '4.4.2') edge.counters.count('limited.time')
    if (last) session.wire.say(last)
  }
  // A client that does not read may make this fail; it is gone either way.
  await session.wire.flush().catch(() => {})
  await reset(session)
  hangUp(session)
}

/** Milliseconds in which a client may still fetch our last reply. */
const linger = 2000

/** Closes our side and waits a little for the other: closing with octets unread would take back the last reply (RST). */
function hangUp({ wire }: Session): void {
  wire.release()
  wire.socket.on('error', () => {}).end()
  wire.socket.resume()
  setTimeout(() => wire.socket.destroy(), linger).unref()
}

async function converse(session: Session): Promise<void> {
  const { edge } = session
  for (;;) {
    const answer = await runCommand(session)
    for (const each of answer) session.wire.say(each)
    if (answer.some((each) => each.close)) return
    if (session.stopping) return session.wire.say(stopped)
    if (answer.some((each) => each.code >= 500) && ++session.errors > edge.settings.limits.errors) {
      edge.counters.count('limited.errors')
      return session.wire.say(reply(421, '4.7.0', 'Too many errors'))
    }
  }
}

export function envelopeOf({ reversePath, parameters, recipients }: Transaction): Envelope {
  const { body, smtpUtf8, requireTls, ret, envid, verp } = parameters
  return { reversePath, recipients, body, smtpUtf8, requireTls, ret, envid, verp }
}
