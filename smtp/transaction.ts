// One mail transaction in an open session: MAIL, RCPT, DATA or BDAT, the octets, the final dot (RFC 5321 section 3.3, RFC 2033, RFC 3030).

import type { Recipient } from '../mail/envelope.ts'
import type { Outcome, Phase } from '../mail/outcome.ts'
import type { Reply } from '../mail/reply.ts'
import { brokenOff, onLoss, onReply } from '../mail/verdict.ts'
import { ConnectionLost } from './connection.ts'
import { createDotStuffer } from './dot-stuff.ts'
import { command, type Session, unaskedReply } from './session.ts'
import { mailCommand, rcptCommand, type Terms } from './terms.ts'
import type { TransferRequest } from './transfer.ts'

export interface TransactionResult {
  outcomes: Map<number, Outcome>
  /** The furthest stage reached. */
  phase: Phase
  dotSent: boolean
  /** The outcome of all recipients that had none of their own; null when each had. */
  ending: Outcome | null
  /** Refused only since the transaction was full (452 4.5.3): a further one may take them at once. Their outcomes say 452. */
  surplus: Recipient[]
  /** clean: ready for MAIL; unsettled: after `owed` more replies and RSET; broken: of no more use. */
  state: 'clean' | 'unsettled' | 'broken'
  owed: number
  /** Lost before the dot, or MAIL refused: on a connection that has carried others ("too many mails in one session") this says nothing about the message. */
  cutOff: boolean
}

/** Runs the transaction for these recipients, whose addresses can be said on these terms. Throws only what `beforeDot` and `content` throw: infrastructure. */
export async function runTransaction(request: TransferRequest, session: Session, terms: Terms, recipients: Recipient[]): Promise<TransactionResult> {
  const { connection, extensions, peer } = session
  const { timeouts } = request
  const result: TransactionResult = { outcomes: new Map(), phase: 'mail', dotSent: false, ending: null, surplus: [], state: 'broken', owed: 0, cutOff: false }
  const settle = (outcome: Outcome) => {
    result.ending = outcome
    for (const { n } of recipients) if (!result.outcomes.has(n)) result.outcomes.set(n, outcome)
    return result
  }
  /** The reply ends the transaction. */
  const stop = (reply: Reply) => {
    result.state = reply.code === 421 ? 'broken' : 'unsettled'
    result.cutOff = result.phase === 'mail'
    return settle(onReply(reply, result.phase, peer))
  }

  const chunking = terms.body === 'BINARYMIME'
  const commands = [mailCommand(request, terms, extensions), ...recipients.map((each) => rcptCommand(each, terms)), ...(chunking ? [] : ['DATA'])]
  const pipelining = extensions.has('PIPELINING')
  const breakOff = () => {
    if (!result.dotSent) connection.abort('broken off')
  }
  request.signal.addEventListener('abort', breakOff, { once: true })
  session.transactions++
  try {
    if (request.signal.aborted) breakOff()
    if (pipelining) {
      const unasked = await unaskedReply(connection)
      if (unasked) return stop(unasked)
      await connection.write(`${commands.join('\r\n')}\r\n`, timeouts.mail)
      result.owed = commands.length
    }
    const ask = async (line: string, limit: number): Promise<Reply> => {
      const reply = pipelining ? await connection.reply(limit) : await command(connection, line, limit)
      if (pipelining) result.owed--
      return reply
    }

    const mail = await ask(commands[0]!, timeouts.mail)
    if (!isYes(mail)) return stop(mail)
    result.phase = 'rcpt'
    const accepted: number[] = []
    for (const [i, recipient] of recipients.entries()) {
      const reply = await ask(commands[i + 1]!, timeouts.rcpt)
      if (reply.code === 421) return stop(reply)
      if (isYes(reply)) accepted.push(recipient.n)
      else if (accepted.length > 0 && isFull(reply)) {
        result.surplus.push(recipient)
        result.outcomes.set(recipient.n, onReply({ ...reply, code: 452, enhanced: '4.5.3' }, 'rcpt', peer))
      } else result.outcomes.set(recipient.n, onReply(reply, 'rcpt', peer))
    }
    if (accepted.length === 0) return { ...result, state: 'unsettled' }
    result.phase = 'data'
    if (!chunking) {
      const data = await ask('DATA', timeouts.data)
      if (data.code !== 354) return stop(data)
    }
    const { early, ending } = chunking ? await sendChunks() : await sendLines()
    if (early) return stopEarly(early)
    if (!(await request.beforeDot(accepted))) return settle(brokenOff('another attempt has taken over'))
    if (request.signal.aborted) throw new ConnectionLost('broken off')
    if (connection.hasReply()) return stopEarly(await connection.reply(0))
    connection.check()
    result.dotSent = true
    result.phase = 'dot'
    await connection.write(ending, timeouts.dot)
    for (const n of request.protocol === 'lmtp' ? accepted : [null]) {
      const reply = await connection.reply(timeouts.dot)
      const outcome = onReply(reply, 'dot', peer)
      const taken = outcome.status === 'delivered' ? { ...outcome, dsnPassedOn: terms.dsn } : outcome
      if (n === null) settle(taken)
      else result.outcomes.set(n, taken)
      result.state = reply.code === 421 ? 'broken' : 'clean'
    }
    return result
  } catch (error) {
    result.state = 'broken'
    if (!(error instanceof ConnectionLost)) {
      connection.abort('broken off')
      throw error
    }
    const broken = request.signal.aborted && !result.dotSent
    // A host that refuses early and hangs up has said why, though writing to it failed before we looked.
    if (!broken && result.phase === 'data' && connection.hasReply()) return stopEarly(await connection.reply(0))
    result.cutOff = !result.dotSent && !broken
    return settle(broken ? brokenOff('broken off before the final dot') : onLoss(result.phase, error.message, peer))
  } finally {
    request.signal.removeEventListener('abort', breakOff)
  }

  /** A reply while the host still owes us patience: it takes no more of this message, and we are in the midst of it. */
  function stopEarly(reply: Reply): TransactionResult {
    return { ...stop(reply), state: 'broken' }
  }

  /** Sends the octets after DATA; `early` is the reply, if the host gives one before the dot. */
  async function sendLines(): Promise<{ early: Reply | null; ending: string }> {
    const stuffer = createDotStuffer()
    for await (const chunk of request.content()) {
      for (const part of stuffer.stuff(chunk)) {
        if (connection.hasReply()) return { early: await connection.reply(0), ending: '' }
        await connection.write(part, timeouts.block)
      }
    }
    return { early: connection.hasReply() ? await connection.reply(0) : null, ending: `${stuffer.end()}.\r\n` }
  }

  /** Sends the octets by BDAT, each chunk with its reply; an empty last chunk takes the place of the dot. */
  async function sendChunks(): Promise<{ early: Reply | null; ending: string }> {
    for await (const chunk of request.content()) {
      if (chunk.length === 0) continue
      await connection.write(`BDAT ${chunk.length}\r\n`, timeouts.block)
      await connection.write(chunk, timeouts.block)
      const reply = await connection.reply(timeouts.data)
      if (!isYes(reply)) return { early: reply, ending: '' }
    }
    return { early: null, ending: 'BDAT 0 LAST\r\n' }
  }
}

function isYes(reply: Reply): boolean {
  return reply.code >= 200 && reply.code < 300
}

/** RFC 5321 section 4.5.3.1.10: 452 means too many recipients, and 552 is to be taken for it; another enhanced code speaks against it. */
function isFull({ code, enhanced }: Reply): boolean {
  return (code === 452 && (enhanced === null || enhanced === '4.5.3')) || (code === 552 && (enhanced === null || enhanced === '5.5.3'))
}
