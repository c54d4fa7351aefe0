// A mail host for tests that says what it is told to: each command's reply is a text, a list of texts, or a fault.

import { createServer, type Socket } from 'node:net'

/** A reply without its line end; `close` breaks the connection, `silent` answers nothing. */
export type Answer = string | 'close' | 'silent'

export interface Script {
  greeting?: Answer
  /** Lines of the EHLO reply after the first. */
  extensions?: string[]
  ehlo?: Answer
  mail?: Answer
  /** By address; `*` for the others. */
  rcpt?: Record<string, Answer>
  data?: Answer
  /** After the dot; for LMTP one for each accepted recipient. */
  dot?: Answer | Answer[]
  /** Said as soon as the first octets of the message come. */
  early?: Answer
  starttls?: Answer
  /** Stops reading once the message has begun, as a host that hangs. */
  stall?: boolean
}

export interface Peer {
  port: number
  connections: number
  commands: string[]
  /** The octets between DATA and the dot, as they were on the wire. */
  messages: string[]
  close(): Promise<void>
}

export async function startPeer(script: Script = {}, address = '127.0.0.1', port = 0): Promise<Peer> {
  const sockets = new Set<Socket>()
  const peer: Peer = { port, connections: 0, commands: [], messages: [], close: async () => {} }
  const server = createServer((socket) => {
    peer.connections++
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    converse(socket, script, peer)
  })
  await new Promise<void>((resolve) => server.listen(port, address, resolve))
  peer.port = (server.address() as { port: number }).port
  peer.close = () => {
    for (const socket of sockets) socket.destroy()
    return new Promise((resolve) => server.close(() => resolve()))
  }
  return peer
}

function converse(socket: Socket, script: Script, peer: Peer): void {
  let input = ''
  let inData = false
  const say = (answer: Answer) => {
    if (answer === 'close') socket.destroy()
    else if (answer !== 'silent') socket.write(`${answer}\r\n`)
  }
  say(script.greeting ?? '220 peer.test ESMTP')
  socket.setEncoding('latin1')
  socket.on('data', (text: string) => {
    input += text
    for (;;) {
      if (inData) {
        if (script.early) say(script.early)
        const end = input.startsWith('.\r\n') ? 0 : input.indexOf('\r\n.\r\n') + 2
        if (end === 1) return
        peer.messages.push(input.slice(0, end))
        input = input.slice(end + 3)
        inData = false
        for (const answer of [script.dot ?? '250 2.0.0 taken'].flat()) say(answer)
      } else {
        const end = input.indexOf('\r\n')
        if (end < 0) return
        const line = input.slice(0, end)
        input = input.slice(end + 2)
        peer.commands.push(line)
        say(answerTo(line))
      }
    }
  })

  function answerTo(line: string): Answer {
    const verb = line.split(' ', 1)[0]!.toUpperCase()
    if (verb === 'EHLO' || verb === 'LHLO') return script.ehlo ?? ['peer.test', ...(script.extensions ?? [])].map((word, i, all) => `250${i === all.length - 1 ? ' ' : '-'}${word}`).join('\r\n')
    if (verb === 'STARTTLS') return script.starttls ?? '220 go ahead'
    if (verb === 'MAIL') return script.mail ?? '250 2.1.0 ok'
    if (verb === 'RCPT') return script.rcpt?.[/<(.*)>/.exec(line)?.[1] ?? ''] ?? script.rcpt?.['*'] ?? '250 2.1.5 ok'
    if (verb === 'DATA') {
      const answer = script.data ?? '354 go on'
      inData = answer.startsWith('354')
      if (inData && script.stall) socket.pause()
      return answer
    }
    return verb === 'QUIT' ? '221 bye' : '250 ok'
  }
}
