// DATA and BDAT: the octets of a message, to the reply that takes it over or refuses it.

import type { Origin } from '../mail/envelope.ts'
import { openIntake } from './accept.ts'
import { type Reply, farewell, reply, wrongOrder } from './reply.ts'
import { envelopeOf, type Session, type Transaction } from './session.ts'

export async function data(session: Session): Promise<Reply | Reply[]> {
  const { wire, transaction } = session
  const refused = notYet(session)
  if (refused) return refused
  if (transaction!.intake) return wrongOrder('The message has begun with BDAT')
  if (transaction!.parameters.body === 'BINARYMIME') return wrongOrder('BODY=BINARYMIME needs BDAT')
  wire.say(reply(354, null, 'End data with <CR><LF>.<CR><LF>'))
  await take(session, transaction!, wire.dotted())
  return await finish(session, transaction!)
}

/** RFC 3030. Octets that were announced are read, whatever the answer: they must never be taken for commands. */
export async function bdat(session: Session, argument: string): Promise<Reply | Reply[]> {
  const { wire, transaction, edge } = session
  const [, digits, last] = /^(\d{1,15})( +LAST)?$/i.exec(argument) ?? []
  // Without its size the chunk cannot be told from what follows it.
  if (digits === undefined) return farewell(501, '5.5.4', 'Write BDAT size, or BDAT size LAST')
  const size = Number(digits)
  const refused = notYet(session) ?? (transaction!.failed ? wrongOrder('The message was refused: say RSET') : null)
  if (refused) {
    await skip(session, size)
    return refused
  }
  await take(session, transaction!, wire.counted(size))
  if (last !== undefined) return await finish(session, transaction!)
  if (transaction!.intake!.size() > edge.settings.limits.messageSize) {
    transaction!.failed = true
    return reply(552, '5.3.4', `The message is larger than ${edge.settings.limits.messageSize} octets`)
  }
  return reply(250, '2.0.0', `${size} octets received`)
}

/** Why there can be no message yet; null: there can. */
function notYet({ transaction, greeted }: Session): Reply | null {
  if (!transaction) return wrongOrder('Say MAIL first')
  if (transaction.accepted > 0) return null
  // By LMTP it is 503, whether the recipients were refused or never named (RFC 2033 section 4.2).
  return transaction.refused && greeted !== 'LHLO' ? reply(554, '5.5.1', 'No valid recipients') : wrongOrder('No recipient was accepted')
}

async function skip(session: Session, size: number): Promise<void> {
  session.wire.until(performance.now() + session.edge.settings.limits.dataTime)
  for await (const _ of session.wire.counted(size));
  session.wire.until(null)
}

async function take(session: Session, transaction: Transaction, octets: AsyncIterable<Uint8Array>): Promise<void> {
  const { edge, wire } = session
  if (!transaction.intake) {
    transaction.intake = openIntake(edge, { binary: transaction.parameters.body === 'BINARYMIME', submission: edge.submission, gone: wire.gone })
    transaction.deadline = performance.now() + edge.settings.limits.dataTime
  }
  wire.until(transaction.deadline)
  session.inMessage = true
  for await (const chunk of octets) await transaction.intake.write(chunk)
  session.inMessage = false
  wire.until(null)
}

/** The message is whole: commits it, and answers, by LMTP for each recipient. */
async function finish(session: Session, transaction: Transaction): Promise<Reply[]> {
  const { edge, client, user, wire } = session
  const { counters, log } = edge
  const intake = transaction.intake!
  const envelope = envelopeOf(transaction)
  const stored = await intake.commit(envelope, await originOf(session), transaction.parameters.releaseAt)
  session.transaction = null
  const toEach = (answer: Reply) => Array.from({ length: session.greeted === 'LHLO' ? transaction.accepted : 1 }, () => answer)
  if ('refused' in stored) {
    const { code, enhanced, lines } = stored.refused
    counters.count('messages.refused')
    log.info({ from: envelope.reversePath, client: client.address, user: user?.name, reply: `${code} ${enhanced} ${lines[0]}` }, 'message refused')
    return toEach(stored.refused)
  }
  session.errors = 0
  session.idleCommands = 0
  counters.count('messages.accepted')
  counters.count('octets.accepted', intake.size())
  log.info({ id: stored.id, from: envelope.reversePath, nrcpt: envelope.recipients.length, client: client.address, user: user?.name }, 'accepted')
  edge.accepted(stored.id)
  // Out at once, whatever was pipelined behind it: until the client has this reply, it may send the message again.
  for (const answer of toEach(reply(250, '2.0.0', `Ok: queued as ${stored.id}`))) wire.say(answer)
  await wire.flush()
  return []
}

/** Milliseconds that reverse DNS, asked when the client came, may still take. */
const patience = 1000

async function originOf(session: Session): Promise<Origin> {
  const { client, transaction, greeted, helo, tls, user } = session
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<null>((resolve) => { timer = setTimeout(resolve, patience, null) })
  const clientName = await Promise.race([client.name, late])
  clearTimeout(timer)
  const suffix = `${tls ? 'S' : ''}${user ? 'A' : ''}` as '' | 'A' | 'S' | 'SA'
  const utf8 = transaction!.parameters.smtpUtf8
  const lmtp = greeted === 'LHLO'
  return {
    protocol: greeted === 'HELO' ? 'SMTP' : `${utf8 ? (lmtp ? 'UTF8LMTP' : 'UTF8SMTP') : lmtp ? 'LMTP' : 'ESMTP'}${suffix}`,
    helo, clientAddress: client.address, clientName, tls, user: user?.name ?? null,
  }
}
