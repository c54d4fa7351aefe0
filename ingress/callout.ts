// Asks an LMTP server whether it knows a recipient, as a sender would (LHLO, MAIL, RCPT), and remembers the answer for a while.

import { connect, type NetConnectOpts, type Socket } from 'node:net'
import type { Reply as Heard } from '../mail/reply.ts'
import { createReplyReader } from '../smtp/replies.ts'
import type { Callout, LmtpServer } from './recipients.ts'
import { remembered } from './remembered.ts'
import { type Reply, reply } from './reply.ts'

const kept = 600_000 // milliseconds
const patience = 10_000 // milliseconds, for the whole question

/** `hostname` is what we call ourselves. A server that cannot be asked, or that answers nonsense, is answered for with 451, and asked again. */
export function createCallout(hostname: string): Callout {
  const answerOf = remembered(async (key) => {
    const [server, forwardPath] = JSON.parse(key) as Parameters<Callout>
    return await ask(server, hostname, forwardPath).catch(() => reply(451, '4.4.1', 'The recipient cannot be checked now; try again later'))
  }, kept, (answer) => answer === null || answer.code >= 500)
  return async ({ host, port, path }, forwardPath) => await answerOf(JSON.stringify([{ host, port, path }, forwardPath]))
}

async function ask(server: LmtpServer, hostname: string, forwardPath: string): Promise<Reply | null> {
  const socket = connect(server as NetConnectOpts)
  const timer = setTimeout(() => socket.destroy(), patience)
  const replies = repliesOf(socket)
  const say = async (line: string) => {
    if (line !== '') socket.write(`${line}\r\n`)
    const { value, done } = await replies.next()
    if (done) throw new Error('the server is gone')
    return value
  }
  try {
    const utf8 = /[^\0-\x7f]/.test(forwardPath) ? ' SMTPUTF8' : ''
    for (const line of ['', `LHLO ${hostname}`, `MAIL FROM:<>${utf8}`]) {
      const { code } = await say(line)
      if (code >= 300) throw new Error('the server does not serve')
    }
    const { code, enhanced, text } = await say(`RCPT TO:<${forwardPath}>`)
    socket.write('QUIT\r\n')
    if (code < 300) return null
    if (code < 400) throw new Error('the server says neither yes nor no')
    return reply(code < 500 ? 450 : 550, enhanced ?? (code < 500 ? '4.2.0' : '5.1.1'), text.split('\n')[0]!)
  } finally {
    clearTimeout(timer)
    socket.destroySoon()
  }
}

/** Ends in an error at what is no reply, and at a reply more than was asked for: those that follow would answer something else. */
async function* repliesOf(socket: Socket): AsyncGenerator<Heard> {
  const heard: Heard[] = []
  const reader = createReplyReader((each) => heard.push(each))
  for await (const octets of socket) {
    reader.feed(octets as Buffer)
    if (heard.length > 1) throw new Error('the server answers what nobody asked')
    yield* heard.splice(0)
  }
}
