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
  /** Takes octets; returns the replies that they complete. Throws ReplySyntaxError. */
  feed(octets: Uint8Array): Reply[]
  /** Whether octets of an unfinished reply are held. */
  pending(): boolean
}

export function createReplyReader(): ReplyReader {
  let line = '' // as latin1, until its end is seen
  let length = 0
  let texts: string[] = []
  let code = ''

  function endLine(): Reply | null {
    const match = /^([2-5]\d\d)(?:([ -])(.*))?$/s.exec(Buffer.from(line.replace(/\r$/, ''), 'latin1').toString('utf8'))
    line = ''
    length = 0
    if (!match || (code !== '' && match[1] !== code)) throw new ReplySyntaxError('an answer that is no SMTP reply')
    code = match[1]!
    texts.push(match[3] ?? '')
    if (texts.length > linesLimit) throw new ReplySyntaxError(`a reply of more than ${linesLimit} lines`)
    if (match[2] === '-') return null
    const reply = makeReply(Number(code), texts)
    texts = []
    code = ''
    return reply
  }

  return {
    pending: () => length > 0 || texts.length > 0,
    feed(octets) {
      const replies: Reply[] = []
      const bytes = Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength)
      for (let from = 0; from < bytes.length; ) {
        const end = bytes.indexOf(10, from)
        const to = end < 0 ? bytes.length : end
        line += bytes.toString('latin1', from, Math.min(to, from + lineKept - line.length))
        length += to - from
        if (length > lineLimit) throw new ReplySyntaxError(`a reply line of more than ${lineLimit} octets`)
        from = to + 1
        if (end >= 0) {
          const reply = endLine()
          if (reply) replies.push(reply)
        }
      }
      return replies
    },
  }
}
