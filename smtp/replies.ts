// Reads replies from a stream of octets that may be hostile: bounded in line length, lines and memory.

import { makeReply, type Reply } from '../mail/reply.ts'

/** Octets kept of a line; what is longer is cut, and the line still ends at its line end. */
const lineKept = 2048
/** A line without end, or a reply without end, breaks the conversation. */
const lineLimit = 64 * 1024
const linesLimit = 100

/** What the peer sent is no SMTP. */
export class ReplySyntaxError extends Error {}

export interface ReplyReader {
  /** Takes octets, and hands over each reply that they complete. Throws ReplySyntaxError, after which it may not be fed again. */
  feed(octets: Uint8Array): void
  /** Whether octets of an unfinished reply are held. */
  pending(): boolean
}

/** `take` gets a reply as soon as it is whole, so that nonsense behind it does not make it unsaid. */
export function createReplyReader(take: (reply: Reply) => void): ReplyReader {
  let line = '' // as latin1, until its end is seen
  let length = 0
  let texts: string[] = []

  function endLine(): void {
    const whole = Buffer.from(line.replace(/\r$/, ''), 'latin1').toString('utf8')
    line = ''
    length = 0
    const [, code, sign, text = ''] = /^([2-5]\d\d)(?:([ \t-])(.*))?$/s.exec(whole) ?? []
    // A reply that has begun takes any line as its text: to break off over its form after the dot would send the message again and again.
    if (!code && texts.length === 0) throw new ReplySyntaxError('an answer that is no SMTP reply')
    texts.push(code ? text : whole)
    if (texts.length > linesLimit) throw new ReplySyntaxError(`a reply of more than ${linesLimit} lines`)
    if (!code || sign === '-') return
    const reply = makeReply(Number(code), texts)
    texts = []
    take(reply)
  }

  return {
    pending: () => length > 0 || texts.length > 0,
    feed(octets) {
      const bytes = Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength)
      for (let from = 0; from < bytes.length; ) {
        const end = bytes.indexOf(10, from)
        const to = end < 0 ? bytes.length : end
        line += bytes.toString('latin1', from, Math.min(to, from + lineKept - line.length))
        length += to - from
        if (length > lineLimit) throw new ReplySyntaxError(`a reply line of more than ${lineLimit} octets`)
        from = to + 1
        if (end >= 0) endLine()
      }
    },
  }
}
