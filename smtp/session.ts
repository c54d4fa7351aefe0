// Opening a session with one host: greeting, EHLO, STARTTLS by policy. Afterwards it is ready for MAIL.

import type { Reply } from '../mail/reply.ts'
import type { TlsPolicy } from '../mail/route.ts'
import type { Outcome, Phase } from '../mail/outcome.ts'
import { onLoss, onReply, type Peer } from '../mail/verdict.ts'
import { type Connection, ConnectionLost, openConnection } from './connection.ts'

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
  tls: TlsPolicy
  helo: string
  timeouts: Timeouts
  signal: AbortSignal
}

export interface Session {
  connection: Connection
  /** Keywords of the EHLO reply, upper case, with their parameters. */
  extensions: Map<string, string>
}

export type Opened =
  | { kind: 'open'; session: Session; peer: Peer }
  | { kind: 'failed'; outcome: Outcome; phase: Phase; /** With `tls: may` the same host may be tried in the clear. */ inClear: boolean }

export async function openSession(request: SessionRequest): Promise<Opened> {
  const { host, address, port, timeouts, signal } = request
  const peer: Peer = { host, address, tls: null }
  let phase: Phase = 'connect'
  let connection: Connection | null = null
  const breakOff = () => connection?.abort('broken off')
  signal.addEventListener('abort', breakOff, { once: true })
  const refused = (reply: Reply): Opened => {
    void connection!.write('QUIT\r\n', 1000).catch(() => {})
    connection!.close()
    return { kind: 'failed', outcome: onReply(reply, phase, peer), phase, inClear: phase === 'tls' && request.tls === 'may' }
  }
  try {
    connection = await openConnection(address, port, timeouts.connect)
    if (signal.aborted) breakOff()
    phase = 'greeting'
    const greeting = await connection.reply(timeouts.greeting)
    if (greeting.code !== 220) return refused(greeting)
    phase = 'ehlo'
    let hello = await sayHello(connection, request)
    if ('reply' in hello) return refused(hello.reply)
    if (request.tls !== 'none' && (hello.extensions.has('STARTTLS') || request.tls !== 'may')) {
      phase = 'tls'
      const reply = await command(connection, 'STARTTLS', timeouts.mail)
      if (reply.code !== 220) return refused(reply)
      await connection.startTls(host, request.tls === 'verify', timeouts.mail)
      peer.tls = connection.tls
      phase = 'ehlo'
      hello = await sayHello(connection, request)
      if ('reply' in hello) return refused(hello.reply)
    }
    return { kind: 'open', session: { connection, extensions: hello.extensions }, peer }
  } catch (error) {
    connection?.close()
    if (!(error instanceof ConnectionLost)) throw error
    return { kind: 'failed', outcome: onLoss(phase, error.message, peer), phase, inClear: phase === 'tls' && request.tls === 'may' }
  } finally {
    signal.removeEventListener('abort', breakOff)
  }
}

export async function command(connection: Connection, line: string, limit: number): Promise<Reply> {
  await connection.write(`${line}\r\n`, limit)
  return await connection.reply(limit)
}

/** EHLO, else HELO (RFC 5321 section 3.2); LHLO has no older form (RFC 2033). */
async function sayHello(connection: Connection, request: SessionRequest): Promise<{ extensions: Map<string, string> } | { reply: Reply }> {
  const limit = request.timeouts.mail
  const reply = await command(connection, `${request.protocol === 'lmtp' ? 'LHLO' : 'EHLO'} ${request.helo}`, limit)
  if (reply.code === 250) {
    const lines = reply.text.split('\n').slice(1)
    return { extensions: new Map(lines.map((line) => [line.split(/[ =]/, 1)[0]!.toUpperCase(), line.replace(/^[^ =]+[ =]?/, '')])) }
  }
  if (request.protocol === 'lmtp' || ![500, 501, 502, 504, 550].includes(reply.code)) return { reply }
  const older = await command(connection, `HELO ${request.helo}`, limit)
  return older.code === 250 ? { extensions: new Map() } : { reply: older }
}
