// One mail transaction in an open session: MAIL, RCPT, DATA, the octets, the final dot (RFC 5321 section 3.3, RFC 2033).

import { canonicalDomain, isAscii, splitAddress } from '../mail/address.ts'
import type { Recipient } from '../mail/envelope.ts'
import type { Outcome, Phase } from '../mail/outcome.ts'
import type { Reply } from '../mail/reply.ts'
import { brokenOff, local, onLoss, onReply, type Peer } from '../mail/verdict.ts'
import { ConnectionLost } from './connection.ts'
import { createDotStuffer } from './dot-stuff.ts'
import type { Session } from './session.ts'
import type { TransferRequest } from './transfer.ts'

export interface TransactionResult {
  outcomes: Map<number, Outcome>
  /** The furthest stage reached. */
  phase: Phase
  dotSent: boolean
}

/** Runs the transaction for these recipients. Throws only what `beforeDot` and `content` throw: infrastructure. */
export async function runTransaction(request: TransferRequest, session: Session, peer: Peer, recipients: Recipient[]): Promise<TransactionResult> {
  const { connection, extensions } = session
  const { timeouts } = request
  let ending = ''
  const result: TransactionResult = { outcomes: new Map(), phase: 'mail', dotSent: false }
  const unsettled = () => recipients.filter(({ n }) => !result.outcomes.has(n))
  const settle = (outcome: Outcome) => {
    for (const { n } of unsettled()) result.outcomes.set(n, outcome)
    return result
  }

  const impossible = cannotSend(request, extensions)
  if (impossible) return settle({ ...impossible, ...peer })
  const commands = [mailCommand(request, extensions), ...recipients.map((r) => `RCPT TO:<${path(r.forwardPath, request, extensions)}>`), 'DATA']
  const pipelining = extensions.has('PIPELINING')
  const breakOff = () => {
    if (!result.dotSent) connection.abort('broken off')
  }
  request.signal.addEventListener('abort', breakOff, { once: true })
  try {
    if (request.signal.aborted) breakOff()
    if (pipelining) await connection.write(`${commands.join('\r\n')}\r\n`, timeouts.mail)
    const ask = async (line: string, limit: number): Promise<Reply> => {
      if (!pipelining) await connection.write(`${line}\r\n`, limit)
      return await connection.reply(limit)
    }

    const mail = await ask(commands[0]!, timeouts.mail)
    if (mail.code !== 250) return settle(onReply(refusal(mail), 'mail', peer))
    result.phase = 'rcpt'
    for (const [i, { n }] of recipients.entries()) {
      const reply = await ask(commands[i + 1]!, timeouts.rcpt)
      if (reply.code !== 250 && reply.code !== 251) result.outcomes.set(n, onReply(refusal(reply), 'rcpt', peer))
    }
    const accepted = unsettled()
    if (accepted.length === 0) {
      // RFC 2920 section 3.1: a server may still have said 354; the connection is closed, which ends it.
      return result
    }
    result.phase = 'data'
    const data = await ask('DATA', timeouts.data)
    if (data.code !== 354) return settle(onReply(refusal(data), 'data', peer))
    const early = await sendContent()
    if (early) return settle(onReply(refusal(early), 'data', peer))
    if (!(await request.beforeDot(accepted.map(({ n }) => n)))) return settle(brokenOff('another attempt has taken over'))
    if (request.signal.aborted) throw new ConnectionLost('broken off')
    result.dotSent = true
    result.phase = 'dot'
    await connection.write(`${ending}.\r\n`, timeouts.dot)
    if (request.protocol === 'smtp') return settle(onReply(await connection.reply(timeouts.dot), 'dot', peer))
    for (const { n } of accepted) result.outcomes.set(n, onReply(await connection.reply(timeouts.dot), 'dot', peer))
    return result
  } catch (error) {
    if (!(error instanceof ConnectionLost)) {
      connection.abort('broken off')
      throw error
    }
    const broken = request.signal.aborted && !result.dotSent
    return settle(broken ? brokenOff('broken off before the final dot') : onLoss(result.phase, error.message, peer))
  } finally {
    request.signal.removeEventListener('abort', breakOff)
  }

  /** Sends the octets; the reply, if the peer gives one before the dot. */
  async function sendContent(): Promise<Reply | null> {
    const stuffer = createDotStuffer()
    for await (const chunk of request.content()) {
      for (const part of stuffer.stuff(chunk)) {
        if (connection.hasReply()) return await connection.reply(0)
        await connection.write(part, timeouts.block)
      }
    }
    ending = stuffer.end()
    return connection.hasReply() ? await connection.reply(0) : null
  }
}

/** A positive reply where it makes no sense refuses nothing and promises nothing: it counts as a passing trouble. */
function refusal(reply: Reply): Reply {
  return reply.code >= 400 ? reply : { ...reply, code: 450, enhanced: null }
}

/** What the peer cannot take, known before anything is sent. */
function cannotSend(request: TransferRequest, extensions: Map<string, string>): Outcome | null {
  const most = Number(extensions.get('SIZE') ?? 0)
  if (most > 0 && request.size > most) return local('bounced', '5.3.4', `the next hop takes at most ${most} octets`, 'mail')
  const addresses = [request.envelope.reversePath, ...request.recipients.map((r) => r.forwardPath)]
  // RFC 6531 section 3.1: without the extension an address must be ASCII; a domain can be made so, a local part cannot.
  const unsayable = addresses.find((address) => !isAscii(splitAddress(address).localPart))
  if (unsayable !== undefined && !extensions.has('SMTPUTF8')) {
    return local('bounced', '5.6.7', `the next hop does not take the address ${unsayable} (no SMTPUTF8)`, 'mail')
  }
  return null
}

function mailCommand({ envelope, size }: TransferRequest, extensions: Map<string, string>): string {
  const parameters = [
    extensions.has('SIZE') ? ` SIZE=${size}` : '',
    envelope.body !== '7BIT' && extensions.has('8BITMIME') ? ' BODY=8BITMIME' : '',
    envelope.smtpUtf8 && extensions.has('SMTPUTF8') ? ' SMTPUTF8' : '',
  ]
  return `MAIL FROM:<${path(envelope.reversePath, { envelope }, extensions)}>${parameters.join('')}`
}

/** The address on the wire: its domain as A-labels, unless SMTPUTF8 goes along (RFC 6531). */
function path(address: string, { envelope }: Pick<TransferRequest, 'envelope'>, extensions: Map<string, string>): string {
  if (isAscii(address) || (envelope.smtpUtf8 && extensions.has('SMTPUTF8'))) return address
  const { localPart, domain } = splitAddress(address)
  return `${localPart}@${canonicalDomain(domain)}`
}
