// The SMTP conversation, on smtp-server: this file alone knows that engine, and mends what it gets wrong.

import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { SMTPServer, type SMTPServerAddress, type SMTPServerOptions, type SMTPServerSession } from 'smtp-server'
import { isAscii } from '../mail/address.ts'
import type { Envelope, Notify, Origin, Recipient } from '../mail/envelope.ts'
import type { Listener } from '../settings/schema.ts'
import { accept } from './accept.ts'
import type { IngressDeps } from './server.ts'
import { nobodysHash, verifyPassword } from './password.ts'
import { completeAddress, plainAddress, relayPolicy } from './policy.ts'
import { refusal } from './refusal.ts'

/** What smtp-server's session does not keep, or keeps wrongly: stale MAIL parameters, merged duplicates. */
interface Transaction {
  reverse: Promise<string | null>
  recipients: Recipient[]
  args: Record<string, string | boolean>
}

const mailParameters = ['SIZE', 'BODY', 'SMTPUTF8', 'AUTH', 'RET', 'ENVID']
const rcptParameters = ['NOTIFY', 'ORCPT']

/** Starts under way beyond which a start is left to the outbox. */
const mostStarts = 200

export interface TlsFiles {
  cert: Buffer
  key: Buffer
}

export interface SmtpListener {
  server: SMTPServer
  /** Sessions whose message is on its way, or being committed. */
  inData: ReadonlySet<SMTPServerSession>
}

export function createListener(deps: IngressDeps, listener: Listener, tls: TlsFiles | null): SmtpListener {
  const { settings, log } = deps
  const policy = relayPolicy(settings)
  const submission = listener.kind !== 'smtp'
  const transactions = new WeakMap<SMTPServerSession, Transaction>()
  const of = (session: SMTPServerSession) => transactions.get(session)!
  const inData = new Set<SMTPServerSession>()
  let starting = 0

  const options: SMTPServerOptions = {
    name: settings.hostname,
    banner: 'Everpost',
    secure: listener.kind === 'submissions',
    ...(tls ?? {}),
    minVersion: 'TLSv1.2',
    authOptional: !submission,
    disabledCommands: [...(submission ? [] : ['AUTH']), ...(tls ? [] : ['STARTTLS'])],
    allowInsecureAuth: false,
    disableReverseLookup: true,
    size: settings.limits.messageSize,
    maxClients: settings.limits.connections,
    maxRecipients: settings.limits.recipients,
    socketTimeout: 300_000,
    closeTimeout: 2 ** 31 - 1, // closeListener does it: the engine would say 421 to a client whose message is being committed
    logger: false,
    onConnect(session, callback) {
      transactions.set(session, { reverse: deps.dns.reverse(plainAddress(session.remoteAddress)).catch(() => null), recipients: [], args: {} })
      callback()
    },
    onAuth(auth, session, callback) {
      const user = settings.users.find((user) => user.name.toLowerCase() === auth.username?.toLowerCase())
      verifyPassword(auth.password ?? '', user?.passwordHash ?? nobodysHash).then((right) => {
        if (user && right) return callback(null, { user: user.name })
        log.warn({ client: session.remoteAddress, user: auth.username }, 'authentication failed')
        callback(refusal(535, '5.7.8 Authentication failed'))
      }, () => callback(refusal(454, '4.7.0 Authentication is not possible now')))
    },
    onMailFrom(address, session, callback) {
      const transaction = of(session)
      transaction.recipients = []
      transaction.args = { ...(address.args || {}) } as Transaction['args']
      callback(refuseMail(address, transaction))
    },
    onRcptTo(address, session, callback) {
      callback(refuseRecipient(address, session))
    },
    onData(stream, session, callback) {
      const envelope = envelopeOf(session)
      inData.add(session)
      accept(deps, stream, envelope, () => originOf(session)).finally(() => inData.delete(session)).then((id) => {
        callback(null, `2.0.0 Ok: queued as ${id}`)
        log.info({ id, from: envelope.reversePath, nrcpt: envelope.recipients.length, client: session.remoteAddress, user: session.user }, 'accepted')
        deps.outbox.accepted()
        if (starting >= mostStarts) return
        starting++
        // Not waited for: the message is committed, and the outbox starts what is not started here.
        deps.startMessage(id).catch((error) => log.debug({ id, error: String(error) }, 'left to the outbox')).finally(() => starting--)
      }, (error) => callback(error))
    },
  }
  const server = new SMTPServer(options)
  // A client's broken connection or failed handshake concerns that client alone.
  server.on('error', (error: Error) => log.debug({ error: error.message, listener: listener.kind }, 'session error'))
  return { server, inData }

  function refuseMail(address: SMTPServerAddress, { args }: Transaction): Error | null {
    if (deps.outbox.full()) return refusal(451, '4.3.2 Too many messages wait; try again later')
    return badParameter(args, mailParameters) ?? badAddress(address.address, args)
  }

  function refuseRecipient(address: SMTPServerAddress, session: SMTPServerSession): Error | null {
    const transaction = of(session)
    const args = (address.args || {}) as Record<string, string | boolean>
    const forwardPath = completeAddress(address.address, settings)
    const bad = badParameter(args, rcptParameters) ?? badAddress(forwardPath, transaction.args)
    if (bad) return bad
    const mayRelay = session.user !== undefined || (!submission && policy.trusts(session.remoteAddress))
    if (!mayRelay && !policy.isLocal(forwardPath)) {
      log.info({ client: session.remoteAddress, to: forwardPath }, 'relaying denied')
      return refusal(550, '5.7.1 Relaying denied')
    }
    if (transaction.recipients.some((known) => known.forwardPath === forwardPath)) return null
    const notify = typeof args['NOTIFY'] === 'string' ? (args['NOTIFY'].toUpperCase().split(',') as Notify[]) : []
    const orcpt = typeof args['ORCPT'] === 'string' ? args['ORCPT'] : null
    transaction.recipients.push({ n: transaction.recipients.length, forwardPath, notify, orcpt })
    return null
  }

  function envelopeOf(session: SMTPServerSession): Envelope {
    const { args, recipients } = of(session)
    const { mailFrom } = session.envelope
    const body = String(args['BODY'] ?? '7BIT').toUpperCase()
    return {
      reversePath: mailFrom ? mailFrom.address : '', recipients, body: body === '8BITMIME' ? '8BITMIME' : '7BIT',
      smtpUtf8: 'SMTPUTF8' in args, requireTls: false, ret: null, envid: null,
    }
  }

  async function originOf(session: SMTPServerSession): Promise<Origin> {
    const late = new Promise<null>((resolve) => setTimeout(resolve, 1000, null).unref())
    const esmtp = session.openingCommand !== 'HELO'
    const suffix = `${session.secure ? 'S' : ''}${session.user ? 'A' : ''}`
    const { version, standardName } = (session.tlsOptions || {}) as { version?: string; standardName?: string }
    return {
      protocol: (esmtp ? `ESMTP${suffix}` : 'SMTP') as Origin['protocol'],
      helo: session.hostNameAppearsAs || '',
      clientAddress: plainAddress(session.remoteAddress),
      clientName: await Promise.race([of(session).reverse, late]),
      tls: session.secure ? { version: version ?? '', cipher: standardName ?? '', verified: false } : null,
      user: session.user ?? null,
    }
  }
}

function badParameter(args: Record<string, unknown>, known: string[]): Error | null {
  const unknown = Object.keys(args).find((key) => !known.includes(key))
  return unknown === undefined ? null : refusal(555, `5.5.4 Unknown parameter ${unknown.replace(/[^\w-]/g, '?').slice(0, 40)}`)
}

/** RFC 6531: UTF-8 in an address only where the client has said SMTPUTF8. */
function badAddress(address: string, args: Record<string, unknown>): Error | null {
  return isAscii(address) || 'SMTPUTF8' in args ? null : refusal(553, '5.6.7 The address needs SMTPUTF8')
}

/** Milliseconds for clients to finish what they have begun. */
const closeGrace = 5000

/**
 * Takes no new connections, waits until the others have ended, and ends them after five seconds: with 421, but without a word where
 * a message may be committed at this very moment. To say no, and have it all the same, would be a lie; silence makes the client ask again.
 */
export async function closeListener({ server, inData }: SmtpListener): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  const late = new AbortController()
  await Promise.race([closed, sleep(closeGrace, undefined, { signal: late.signal }).catch(() => {})])
  late.abort()
  for (const connection of server.connections as Set<{ session: SMTPServerSession; send(code: number, text: string): void; close(): void }>) {
    if (!inData.has(connection.session)) connection.send(421, '4.3.2 Service closing')
    connection.close()
  }
}

/** Listens; rejects with one line that says what is wrong and what to do. */
export async function listen(server: SMTPServer, listener: Listener): Promise<number> {
  const socket = server.listen(listener.port, listener.address)
  try {
    await once(socket, 'listening')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const where = `${listener.address}:${listener.port}`
    if (code === 'EADDRINUSE') throw new Error(`Port ${where} (${listener.kind}) is in use. Stop what listens there, or set another port in listeners.`)
    if (code === 'EACCES') throw new Error(`Port ${where} (${listener.kind}) needs privileges. Use a port above 1023, or grant CAP_NET_BIND_SERVICE.`)
    throw new Error(`Cannot listen on ${where} (${listener.kind}): ${code ?? String(error)}. Check listeners in the settings.`)
  }
  return (socket.address() as { port: number }).port
}
