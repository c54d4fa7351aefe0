// The octets of a session, both ways: lines, dotted and counted data are pulled from the socket as they are wanted, so that a
// slow database slows the client down; replies are gathered and go out together before we wait (RFC 2920 section 3.2).

import type { Socket } from 'node:net'
import { createUnstuffer } from './dots.ts'
import { formatReply, type Reply, reply } from './reply.ts'

/** A command line without its CRLF, or why it is none. */
export type Line = { octets: Buffer } | { problem: 'too long' | 'bare LF' }

export interface Wire {
  socket: Socket
  /** Whether the client has sent more than was read: it did not wait for our reply. */
  pending(): boolean
  /** The next line, of at most `limit` octets; a longer one is read to its end and thrown away. */
  line(limit: number): Promise<Line>
  /** The octets of a message up to its final dot, dots unstuffed. */
  dotted(): AsyncGenerator<Uint8Array>
  /** The next `count` octets (BDAT, RFC 3030). */
  counted(count: number): AsyncGenerator<Uint8Array>
  /** From now until this moment (milliseconds, as performance.now() counts them) the client may go on talking; null: without end. */
  until(deadline: number | null): void
  say(reply: Reply): void
  flush(): Promise<void>
  /** Whether the client has hung up, as far as that can be told without reading on. */
  gone(): boolean
  /** Breaks off a wait for the client, if there is one, with this reply. */
  interrupt(farewell: Reply): void
  /** Takes our hands off the socket; what the client has sent is thrown away. */
  release(): void
}

/** Thrown where the client is waited for: the session ends, with this reply if it can still be said. */
export class ConversationOver extends Error {
  readonly farewell: Reply | null
  constructor(farewell: Reply | null) {
    super(farewell ? farewell.lines.join(' ') : 'the client is gone')
    this.farewell = farewell
  }
}

/** Octets of the longest line that is ever read: what AUTH may have (RFC 4954 section 4). */
export const longestLine = 12_288
/** Octets of a line without end that are thrown away before we hang up. */
const mostDiscarded = 256 * 1024
const nothing = Buffer.alloc(0)
const tooSlow = reply(421, '4.4.2', 'Idle for too long')

/** `idleTime`: milliseconds that the client may stay silent, take for a line, or not read our replies. */
export function createWire(socket: Socket, idleTime: number): Wire {
  let held: Buffer = nothing
  let out = ''
  let deadline: number | null = null
  let waiting: { resolve: () => void; reject: (error: Error) => void } | null = null
  let ended = false
  const wake = () => settle()
  const end = () => {
    ended = true
    settle()
  }
  const timer = setTimeout(() => settle(new ConversationOver(tooSlow)), idleTime)
  const listeners = [['readable', wake], ['drain', wake], ['end', end], ['close', end], ['error', end]] as const
  for (const [event, listener] of listeners) socket.on(event, listener)

  function settle(error?: Error): void {
    const waiter = waiting
    waiting = null
    if (error) waiter?.reject(error)
    else waiter?.resolve()
  }

  function event(): Promise<void> {
    timer.refresh()
    return new Promise((resolve, reject) => {
      waiting = { resolve, reject }
    })
  }

  async function more(): Promise<void> {
    await flush()
    for (;;) {
      if (deadline !== null && performance.now() > deadline) throw new ConversationOver(reply(421, '4.4.2', 'The message took too long'))
      const chunk = socket.read() as Buffer | null
      if (chunk !== null) {
        held = held.length > 0 ? Buffer.concat([held, chunk]) : chunk
        return
      }
      if (ended || socket.destroyed) throw new ConversationOver(null)
      await event()
    }
  }

  async function flush(): Promise<void> {
    if (out === '') return
    const text = out
    out = ''
    if (socket.writable) socket.write(text, 'latin1')
    // A client that does not read its replies is not read from.
    while (socket.writableNeedDrain && !ended) await event()
  }

  return {
    socket,
    pending: () => held.length > 0 || socket.readableLength > 0,
    async line(limit) {
      const begun = performance.now()
      let looked = 0
      let discarded = 0
      for (;;) {
        const end = held.indexOf(10, looked)
        if (end >= 0) {
          const line = held.subarray(0, end)
          held = held.subarray(end + 1)
          if (discarded > 0 || line.length > limit + 1) return { problem: 'too long' }
          return line[end - 1] === 13 ? { octets: line.subarray(0, -1) } : { problem: 'bare LF' }
        }
        looked = held.length
        if (held.length > limit + 1) {
          discarded += held.length
          held = nothing
          looked = 0
          if (discarded > mostDiscarded) throw new ConversationOver(reply(421, '4.7.0', 'A line without end'))
        }
        await more()
        // Octets that trickle in do not keep a session alive: the whole line has that time.
        if (performance.now() - begun > idleTime) throw new ConversationOver(tooSlow)
      }
    },
    async *dotted() {
      const unstuffer = createUnstuffer()
      for (;;) {
        if (held.length === 0) await more()
        const { content, rest } = unstuffer.feed(held)
        held = rest ?? nothing
        if (content.length > 0) yield content.length === 1 ? content[0]! : Buffer.concat(content)
        if (rest) return
      }
    },
    async *counted(count) {
      let left = count
      while (left > 0) {
        if (held.length === 0) await more()
        const taken = held.subarray(0, left)
        held = held.subarray(taken.length)
        left -= taken.length
        yield taken
      }
    },
    until(moment) {
      deadline = moment
    },
    say(reply) {
      out += formatReply(reply)
    },
    flush,
    gone() {
      // The end shows once all that came before it is read.
      if (socket.readableLength === 0) socket.read(0)
      return ended || socket.destroyed
    },
    interrupt(farewell) {
      settle(new ConversationOver(farewell))
    },
    release() {
      clearTimeout(timer)
      while (socket.read() !== null);
      held = nothing
      for (const [event, listener] of listeners) socket.off(event, listener)
    },
  }
}
