// MAIL and RCPT: the envelope, sender and recipients, each accepted or refused for one reason.

import { isAscii, parsePath, splitAddress } from '../mail/address.ts'
import { postgresTime } from '../store/clock.ts'
import { mailParameters, type Offered, rcptParameters } from './parameters.ts'
import { addRecipients, mostRecipients } from './recipients.ts'
import { type Reply, reply, wrongOrder } from './reply.ts'
import { newTransaction, type Session } from './session.ts'
import { ownsSender } from './submission.ts'

export function offered({ edge, tls, user, client }: Session): Offered {
  const { settings, submission } = edge
  return {
    messageSize: settings.limits.messageSize,
    auth: submission && (tls !== null || settings.submission.clearTextAuth),
    tls: tls !== null,
    futureRelease: submission ? settings.submission.futureRelease : 0,
    verp: user || (!submission && edge.trusts(client.address)) ? settings.reports.verp.delimiters : null,
  }
}

export async function mail(session: Session, argument: string): Promise<Reply> {
  const { edge } = session
  const answer = await userLost(session) ?? begin(session, argument)
  if (answer.code >= 400) edge.log.info({ client: session.client.address, user: session.user?.name, reply: `${answer.code} ${answer.enhanced} ${answer.lines[0]}` }, 'sender refused')
  return answer
}

/** Who stays connected sends no longer than they are a user, with the password they gave; null: nothing speaks against it. */
async function userLost(session: Session): Promise<Reply | null> {
  const { edge, user } = session
  if (!user) return null
  try {
    session.user = await edge.users.current(user)
  } catch (error) {
    edge.log.error({ client: session.client.address, user: user.name, error: String(error) }, 'a user cannot be looked up')
    return reply(451, '4.3.0', 'Users cannot be looked up now; try again later')
  }
  return session.user ? null : reply(421, '4.7.0', 'Authenticate again: the user was removed, or has another password')
}

function begin(session: Session, argument: string): Reply {
  const { edge, user, client } = session
  const { settings } = edge
  if (session.greeted === null) return wrongOrder(`Say ${edge.listener.kind === 'lmtp' ? 'LHLO' : 'EHLO'} first`)
  if (session.transaction) return wrongOrder('A transaction is open: end it with DATA or RSET')
  if (edge.submission && !user) return reply(530, '5.7.0', offered(session).auth ? 'Authentication is required' : 'Say STARTTLS first, then AUTH')
  const from = /^FROM: ?(.*)$/is.exec(argument)
  if (!from) return reply(501, '5.5.4', 'Write MAIL FROM:<address>')
  const path = parsePath(from[1]!)
  if ('problem' in path) return reply(501, '5.1.7', path.problem)
  if (path.address !== '' && splitAddress(path.address).domain === '') return reply(501, '5.1.7', 'The sender needs a domain')
  const parameters = mailParameters(path.rest, offered(session), postgresTime())
  if ('refused' in parameters) return parameters.refused
  if (!isAscii(path.address) && !parameters.smtpUtf8) return reply(553, '5.6.7', 'The address needs SMTPUTF8')
  if (parameters.verp !== null && path.address === '') return reply(503, '5.5.4', 'XVERP needs a sender')
  if (edge.submission && !settings.submission.anySender && !ownsSender(user!, path.address)) return reply(553, '5.7.1', `${user!.name} may not send with this address`)
  if (edge.outboxFull()) return reply(451, '4.3.2', 'Too many messages wait; try again later')
  if (!edge.limits.message(client.address, user?.name ?? null)) {
    edge.counters.count('limited.messages')
    return reply(450, '4.7.1', 'Too many messages in a minute; try again later')
  }
  session.transaction = newTransaction(path.address, parameters)
  return reply(250, '2.1.0', 'Ok')
}

export async function rcpt(session: Session, argument: string): Promise<Reply> {
  const { edge, transaction } = session
  const answer = await add(session, argument)
  edge.counters.count(answer.code < 400 ? 'recipients.accepted' : 'recipients.refused')
  if (answer.code < 400) transaction!.accepted++
  else {
    if (transaction) transaction.refused = true
    const reason = `${answer.code} ${answer.enhanced} ${answer.lines[0]}`
    edge.log.info({ client: session.client.address, user: session.user?.name, from: transaction?.reversePath, to: argument.slice(0, 400), reply: reason }, 'recipient refused')
  }
  return answer
}

async function add(session: Session, argument: string): Promise<Reply> {
  const { edge, transaction, user, client } = session
  const { limits } = edge.settings
  if (!transaction) return wrongOrder('Say MAIL first')
  if (transaction.intake) return wrongOrder('The message has begun')
  const to = /^TO: ?(.*)$/is.exec(argument)
  if (!to) return reply(501, '5.5.4', 'Write RCPT TO:<address>')
  const path = parsePath(to[1]!)
  if ('problem' in path) return reply(501, '5.1.3', path.problem)
  if (path.address === '') return reply(501, '5.1.3', 'A recipient is needed')
  const parameters = rcptParameters(path.rest, transaction.parameters.smtpUtf8)
  if ('refused' in parameters) return parameters.refused
  if (!isAscii(path.address) && !transaction.parameters.smtpUtf8) return reply(553, '5.6.7', 'The address needs SMTPUTF8')
  if (transaction.accepted >= limits.recipients) return reply(452, '4.5.3', `No more than ${limits.recipients} recipients for one message`)
  if (!edge.limits.recipient(client.address, user?.name ?? null)) {
    edge.counters.count('limited.recipients')
    return reply(450, '4.7.1', 'Too many recipients in a minute; try again later')
  }
  const found = await edge.recipients.find(path.address, user !== null || (!edge.submission && edge.trusts(client.address)))
  if ('refused' in found) {
    if (found.refused.enhanced === '5.7.1') edge.counters.count('relaying.denied')
    return found.refused
  }
  const { recipients } = transaction
  if (recipients.length + found.addresses.length > mostRecipients) return reply(452, '4.5.3', 'Too many recipients for one message')
  addRecipients(recipients, path.address, found.addresses, parameters)
  if (!recipients.every(({ forwardPath }) => isAscii(forwardPath))) transaction.parameters.smtpUtf8 = true
  return reply(250, '2.1.5', 'Ok')
}
