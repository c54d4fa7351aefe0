// Opening a session with one host: greeting, EHLO, TLS by policy, AUTH. Afterwards it is ready for MAIL, and may carry many messages.

import type { Outcome, Phase } from '../mail/outcome.ts'
import type { Reply } from '../mail/reply.ts'
import { local, onLoss, onReply, onSource, type Peer } from '../mail/verdict.ts'
import { authenticate, type Credentials } from './auth.ts'
import { CertificateRefused, type Connection, ConnectionLost, openConnection, SourceUnusable } from './connection.ts'
import type { HostTls } from './tls.ts'

/** Time limits in milliseconds (RFC 5321 section 4.5.3.2). */
export interface Timeouts {
  connect: number
  greeting: number
  mail: number
  rcpt: number
  data: number
  block: number
  dot: number
}

export interface SessionRequest {
  protocol: 'smtp' | 'lmtp'
  host: string
  address: string
  port: number
  /** The address of ours that it is made from; undefined: the machine's routing decides. */
  from: string | undefined
  tls: HostTls
  auth: Credentials | null
  helo: string
  timeouts: Timeouts
  signal: AbortSignal
}

export interface Session {
  connection: Connection
  peer: Peer
  /** Keywords of the EHLO reply, upper case, with their parameters. */
  extensions: Map<string, string>
  /** By performance.now(). */
  openedAt: number
  /** MAIL commands sent so far. */
  transactions: number
}

export type Opened =
  | { kind: 'open'; session: Session }
  | { kind: 'failed'; outcome: Outcome; phase: Phase; /** The host said no to TLS for good, or its certificate was not accepted. */ noTls: boolean }

export async function openSession(request: SessionRequest): Promise<Opened> {
  const { host, address, port, from, tls, timeouts, signal } = request
  const peer: Peer = { host, address, tls: null }
  let phase: Phase = 'connect'
  let connection: Connection | null = null
  const breakOff = () => connection?.abort('broken off')
  signal.addEventListener('abort', breakOff, { once: true })
  const failed = (outcome: Outcome): Opened => {
    if (connection) leave(connection)
    return { kind: 'failed', outcome, phase, noTls: phase === 'tls' && outcome.reply!.code >= 500 }
  }
  try {
    connection = await openConnection(address, port, timeouts.connect, from)
    if (signal.aborted) breakOff()
    const shakeHands = async () => {
      phase = 'tls'
      await connection!.startTls(host, tls, timeouts.mail)
      peer.tls = connection!.tls
    }
    if (tls.implicit && tls.level !== 'none') await shakeHands()
    phase = 'greeting'
    const greeting = await connection.reply(timeouts.greeting)
    if (greeting.code !== 220) return failed(onReply(greeting, phase, peer))
    phase = 'ehlo'
    let hello = await sayHello(connection, request)
    if ('reply' in hello) return failed(onReply(hello.reply, phase, peer))
    if (peer.tls === null && tls.level !== 'none' && (hello.extensions.has('STARTTLS') || tls.level !== 'may')) {
      phase = 'tls'
      const reply = await command(connection, 'STARTTLS', timeouts.mail)
      if (reply.code !== 220) return failed(onReply(reply, phase, peer))
      await shakeHands()
      // With TLS 1.3 a server refuses what we show it, or do not show, only after the handshake has ended for us: lost before its first word is TLS that failed.
      hello = await sayHello(connection, request)
      phase = 'ehlo'
      if ('reply' in hello) return failed(onReply(hello.reply, phase, peer))
    }
    if (request.auth) {
      phase = 'auth'
      const refused = await authenticate(connection, hello.extensions, request.auth, timeouts.mail)
      if (typeof refused === 'string') return failed({ ...local('deferred', '4.7.0', `host ${host}[${address}]: ${refused}`, phase), ...peer })
      if (refused) return failed(onReply(refused, phase, peer))
    }
    return { kind: 'open', session: { connection, peer, extensions: hello.extensions, openedAt: performance.now(), transactions: 0 } }
  } catch (error) {
    connection?.close()
    if (!(error instanceof ConnectionLost)) throw error
    const outcome = error instanceof SourceUnusable ? onSource(from!, error.message, peer) : onLoss(phase, error.message, peer)
    return { kind: 'failed', outcome, phase, noTls: error instanceof CertificateRefused }
  } finally {
    signal.removeEventListener('abort', breakOff)
  }
}

/** Sends a command and waits for its reply, `limit` milliseconds each. */
export async function command(connection: Connection, line: string, limit: number): Promise<Reply> {
  const unasked = await unaskedReply(connection)
  if (unasked) return unasked
  await connection.write(`${line}\r\n`, limit)
  return await connection.reply(limit)
}

/** Only 421 may come unasked (RFC 5321 section 3.8). After anything else nobody can tell which command a reply answers. */
export async function unaskedReply(connection: Connection): Promise<Reply | null> {
  if (!connection.hasReply()) return null
  const reply = await connection.reply(0)
  if (reply.code === 421) return reply
  connection.abort('a reply that answers no command')
  return null
}

/** Says QUIT and hangs up; the reply is not waited for. */
export function leave(connection: Connection): void {
  void connection.write('QUIT\r\n', 1000).catch(() => {})
  connection.close()
}

/** EHLO, else HELO (RFC 5321 section 3.2); LHLO has no older form (RFC 2033). */
async function sayHello(connection: Connection, request: SessionRequest): Promise<{ extensions: Map<string, string> } | { reply: Reply }> {
  const limit = request.timeouts.mail
  const reply = await command(connection, `${request.protocol === 'lmtp' ? 'LHLO' : 'EHLO'} ${request.helo}`, limit)
  if (reply.code === 250) {
    return { extensions: extensionsIn(reply.text.split('\n').slice(1)) }
  }
  if (request.protocol === 'lmtp' || ![500, 501, 502, 504, 550].includes(reply.code)) return { reply }
  const older = await command(connection, `HELO ${request.helo}`, limit)
  return older.code === 250 ? { extensions: new Map() } : { reply: older }
}

/** A keyword that comes twice, such as `AUTH PLAIN` with the older `AUTH=LOGIN` beside it, has the parameters of both. */
function extensionsIn(lines: string[]): Map<string, string> {
  const extensions = new Map<string, string>()
  for (const line of lines) {
    const keyword = line.split(/[ =]/, 1)[0]!.toUpperCase()
    const parameters = line.replace(/^[^ =]+[ =]?/, '')
    const before = extensions.get(keyword)
    extensions.set(keyword, before ? `${before} ${parameters}` : parameters)
  }
  return extensions
}
