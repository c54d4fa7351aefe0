// The commands: reads one line, finds who answers it, and answers the short ones. RFC 5321 section 4.1.1, RFC 2033, RFC 2920.

import { isAscii, isUtf8 } from 'node:buffer'
import { printable } from '../mail/reply.ts'
import { postgresTime } from '../store/clock.ts'
import { auth } from './auth.ts'
import { bdat, data } from './message.ts'
import { type Reply, farewell, ok, reply, syntaxError, wrongOrder } from './reply.ts'
import { forget, reset, type Session, tlsOf } from './session.ts'
import { mail, offered, rcpt } from './transaction.ts'
import { ConversationOver, createWire, longestLine } from './wire.ts'
import { xclient, xclientAttributes } from './xclient.ts'

type Answer = Reply | Reply[]
interface Command {
  run(session: Session, argument: string): Answer | Promise<Answer>
  /** Octets after it in the same segment break RFC 2920 section 3.1: its reply decides how they are read. */
  last?: boolean
  /** It takes no argument. */
  bare?: boolean
  /** Its argument may be in whatever characters the client's machine writes. */
  anyText?: boolean
  /** It brings no message nearer: so many without one are too many. */
  idle?: boolean
}

const commands: Record<string, Command> = {
  HELO: { run: (session, argument) => hello(session, 'HELO', argument), last: true, idle: true, anyText: true },
  EHLO: { run: (session, argument) => hello(session, 'EHLO', argument), last: true, idle: true, anyText: true },
  LHLO: { run: (session, argument) => hello(session, 'LHLO', argument), last: true, idle: true, anyText: true },
  MAIL: { run: mail },
  RCPT: { run: rcpt },
  DATA: { run: data, last: true, bare: true },
  BDAT: { run: bdat },
  AUTH: { run: auth, last: true },
  STARTTLS: { run: startTls, bare: true },
  XCLIENT: { run: xclient, last: true },
  RSET: { run: rset, bare: true, idle: true },
  NOOP: { run: () => ok, idle: true },
  QUIT: { run: () => reply(221, '2.0.0', 'Bye'), bare: true },
  HELP: { run: () => reply(214, '2.0.0', 'RFC 5321 says what may be said here'), idle: true },
  // Whether an address is good is said at RCPT, to whoever sends mail.
  VRFY: { run: (_, argument) => (argument === '' ? syntaxError('VRFY needs an address') : reply(252, '2.0.0', 'Send mail to it, and see')), idle: true },
}

/** As Postfix bounds them (smtpd_junk_command_limit). */
const mostIdleCommands = 100
const notHere = ['EXPN', 'ETRN', 'TURN', 'ATRN', 'SEND', 'SOML', 'SAML']

/** Reads the next command and answers it. Throws ConversationOver when the client is gone. */
export async function runCommand(session: Session): Promise<Reply[]> {
  const { counters, settings } = session.edge
  const line = await session.wire.line(longestLine)
  if ('problem' in line) {
    if (line.problem === 'too long') return [tooLong(session)]
    counters.count('protocol.bareLf')
    // Who ends lines otherwise than we do would be understood otherwise than it means.
    return [farewell(521, '5.5.2', 'Lines end with CRLF, not with LF alone')]
  }
  const { octets } = line
  if (octets.includes(13) || octets.includes(0)) return [reply(500, '5.5.2', 'The line holds a bare CR or a NUL')]
  const isText = isUtf8(octets)
  const text = isAscii(octets) || !isText ? octets.toString('latin1') : octets.toString('utf8')
  const [, word, argument] = /^([^ ]*) *(.*?) *$/s.exec(text) as unknown as [string, string, string]
  const verb = word.toUpperCase()
  if (octets.length > settings.limits.commandLength && verb !== 'AUTH') return [tooLong(session)]
  const command = Object.hasOwn(commands, verb) ? commands[verb]! : undefined
  if (!isText && !command?.anyText) return [reply(500, '5.5.2', 'The line is not UTF-8')]
  if (!command) return [notHere.includes(verb) ? reply(502, '5.5.1', `${verb} is not implemented`) : reply(500, '5.5.1', 'There is no such command')]
  // Before EHLO nothing may be pipelined, since nothing was offered.
  const synchronous = command.last || session.greeted === null || session.greeted === 'HELO'
  if (synchronous && verb !== 'QUIT' && verb !== 'STARTTLS' && session.wire.pending()) {
    counters.count('protocol.unsynchronised')
    return [farewell(554, '5.5.1', 'Wait for the reply before you go on')]
  }
  if (command.idle && ++session.idleCommands > mostIdleCommands) {
    counters.count('limited.errors')
    return [reply(421, '4.7.0', 'Too many commands without a message')]
  }
  if (command.bare && argument !== '') return [syntaxError(`${verb} takes no argument`)]
  const answer = await command.run(session, argument)
  return Array.isArray(answer) ? answer : [answer]
}

function tooLong({ edge }: Session): Reply {
  edge.counters.count('limited.length')
  return reply(500, '5.5.2', 'The line is too long')
}

async function hello(session: Session, verb: 'HELO' | 'EHLO' | 'LHLO', name: string): Promise<Reply> {
  const { edge } = session
  if ((edge.listener.kind === 'lmtp') !== (verb === 'LHLO')) return reply(500, '5.5.1', edge.listener.kind === 'lmtp' ? 'This is LMTP: say LHLO' : 'This is not LMTP: say EHLO')
  // Whatever else it is: real clients call themselves (none), JOHN'S-PC and [IPv6:fe80::1%eth0], and no decision hangs on it.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: keeping them out is the point
  if (!/^[^\x00-\x1f\x7f]{1,255}$/.test(name)) return syntaxError(`${verb} needs a host name or an address literal`)
  await reset(session)
  session.greeted = verb
  session.helo = printable(name)
  if (verb === 'HELO') return reply(250, null, edge.settings.hostname)
  return reply(250, null, `${edge.settings.hostname} greets ${name}`, ...keywords(session))
}

function keywords(session: Session): string[] {
  const { edge, tls, told } = session
  const { messageSize, auth, futureRelease, verp } = offered(session)
  const until = new Date(postgresTime() + futureRelease).toISOString().replace(/\.\d+/, '')
  return [
    'PIPELINING', `SIZE ${messageSize}`, '8BITMIME', 'SMTPUTF8', 'ENHANCEDSTATUSCODES', 'DSN', 'CHUNKING', 'BINARYMIME',
    `LIMITS RCPTMAX=${edge.settings.limits.recipients}`,
    ...(tls ? ['REQUIRETLS'] : edge.hasTls ? ['STARTTLS'] : []),
    ...(auth ? ['AUTH PLAIN LOGIN'] : []),
    ...(futureRelease > 0 ? [`FUTURERELEASE ${futureRelease / 1000} ${until}`] : []),
    ...(verp === null ? [] : ['XVERP']),
    ...(told ? [`XCLIENT ${xclientAttributes.join(' ')}`] : []),
  ]
}

async function rset(session: Session): Promise<Reply> {
  await reset(session)
  return ok
}

/** RFC 3207. What the client sent after the command, in the clear, is thrown away. */
async function startTls(session: Session): Promise<Answer> {
  const { edge } = session
  if (session.tls) return wrongOrder('TLS is on already')
  if (!edge.hasTls) return reply(502, '5.5.1', 'STARTTLS is not offered')
  session.wire.say(reply(220, '2.0.0', 'Go ahead'))
  await session.wire.flush()
  session.wire.release()
  await forget(session)
  const socket = await edge.upgrade(session.wire.socket).catch((error) => {
    edge.counters.count('tls.failed')
    edge.log.info({ client: session.client.address, error: String(error) }, 'TLS handshake failed')
    throw new ConversationOver(null)
  })
  edge.counters.count('tls.handshakes')
  session.wire = createWire(socket, edge.settings.limits.idleTime)
  session.tls = tlsOf(socket)
  if (session.stopping) throw new ConversationOver(reply(421, '4.3.2', 'The service is stopping'))
  return []
}
