// A mail host for tests that says what it is told to: each command's reply is a text, a list of texts, or a fault. Real sockets, real TLS.

import { createServer, type Socket } from 'node:net'
import { TLSSocket, type TLSSocketOptions } from 'node:tls'
import { isSocketPath } from '../mail/route.ts'
import type { TransferRequest } from './transfer.ts'
import { plainTls } from './tls.ts'

/** A reply without its line end; `close` breaks the connection, `silent` answers nothing. */
export type Answer = string | 'close' | 'silent'

export interface Script {
  greeting?: Answer
  /** Lines of the EHLO reply after the first. */
  extensions?: string[]
  /** The same once TLS is on; without it `extensions` still. */
  secureExtensions?: string[]
  ehlo?: Answer
  /** To EHLO once TLS is on. */
  secureEhlo?: Answer
  mail?: Answer
  /** By address; `*` for the others. */
  rcpt?: Record<string, Answer>
  /** Recipients taken in one transaction; the others get 452 4.5.3. */
  rcptMost?: number
  data?: Answer
  /** After the dot; for LMTP one for each accepted recipient. */
  dot?: Answer | Answer[] | ((accepted: string[]) => Answer[])
  /** Said as soon as the first octets of the message come. */
  early?: Answer
  bdat?: Answer
  starttls?: Answer
  /** Certificate and key: STARTTLS then leads to TLS; `implicit`: from the first octet. */
  tls?: TLSSocketOptions & { implicit?: boolean }
  /** To the lines of an AUTH exchange, in turn. */
  auth?: Answer[]
  rset?: Answer
  /** Stops reading once the message has begun, as a host that hangs. */
  stall?: boolean
}

export interface Peer {
  port: number
  connections: number
  /** The address of each client, in the order of their coming. */
  clients: string[]
  commands: string[]
  /** The octets between DATA and the dot, as they were on the wire, or of all BDAT chunks. */
  messages: string[]
  /** The recipients to whom a 2xx after the dot spoke. */
  taken: string[]
  /** Of the latest TLS connection: the name asked for by SNI, and the subject of the client's certificate. */
  servername: string | false | null
  clientName: string | null
  /** Breaks or says something on every connection that stands. */
  each(answer: Answer): void
  close(): Promise<void>
}

/** `address`: of an interface, or the path of a Unix socket. */
export async function startPeer(script: Script = {}, address = '127.0.0.1', port = 0): Promise<Peer> {
  const sockets = new Map<Socket, (answer: Answer) => void>()
  const peer: Peer = {
    port, connections: 0, clients: [], commands: [], messages: [], taken: [], servername: null, clientName: null, close: async () => {},
    each: (answer) => { for (const say of sockets.values()) say(answer) },
  }
  const server = createServer({ noDelay: true }, (socket) => {
    peer.connections++
    peer.clients.push(socket.remoteAddress ?? '')
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    sockets.set(socket, converse(socket, script, peer))
  })
  await new Promise<void>((resolve) => server.listen(isSocketPath(address) ? { path: address } : { port, host: address }, resolve))
  peer.port = isSocketPath(address) ? 0 : (server.address() as { port: number }).port
  peer.close = () => {
    for (const socket of sockets.keys()) socket.destroy()
    return new Promise((resolve) => server.close(() => resolve()))
  }
  return peer
}

/** Returns what says something to the client unasked. */
function converse(clear: Socket, script: Script, peer: Peer): (answer: Answer) => void {
  let socket: Socket = clear
  let input = ''
  let inData = false
  let chunks = ''
  let accepted: string[] = []
  let lmtp = false
  let authLine = 0
  let authPending = false
  const say = (answer: Answer) => {
    if (answer === 'close') clear.destroy()
    else if (answer !== 'silent') socket.write(`${answer}\r\n`, 'latin1')
  }
  const listen = () => socket.setEncoding('latin1').on('data', read)
  const secure = () => {
    clear.removeAllListeners('data')
    const wrapped = new TLSSocket(clear, { isServer: true, requestCert: true, rejectUnauthorized: false, ...script.tls })
    wrapped.on('error', () => {}).on('secure', () => {
      peer.servername = (wrapped as TLSSocket & { servername: string | false }).servername
      peer.clientName = wrapped.getPeerCertificate()?.subject?.CN?.toString() ?? null
    })
    socket = wrapped
    listen()
  }
  if (script.tls?.implicit) secure()
  else listen()
  say(script.greeting ?? '220 peer.test ESMTP')
  return say

  function read(text: string): void {
    input += text
    for (;;) {
      if (inData) {
        if (script.early) say(script.early)
        const end = input.startsWith('.\r\n') ? 0 : input.indexOf('\r\n.\r\n') + 2
        if (end === 1) return
        peer.messages.push(input.slice(0, end))
        input = input.slice(end + 3)
        inData = false
        answerDot()
      } else {
        const end = input.indexOf('\r\n')
        if (end < 0) return
        const line = input.slice(0, end)
        const bdat = /^BDAT (\d+)( LAST)?$/.exec(line)
        if (bdat && input.length < end + 2 + Number(bdat[1])) return
        input = input.slice(end + 2)
        peer.commands.push(line)
        if (bdat) takeChunk(Number(bdat[1]), bdat[2] !== undefined)
        else say(answerTo(line))
        if (line === 'STARTTLS' && script.tls && !script.starttls) secure()
      }
    }
  }

  function takeChunk(length: number, last: boolean): void {
    chunks += input.slice(0, length)
    input = input.slice(length)
    if (!last) {
      say(script.bdat ?? '250 2.0.0 chunk')
      return
    }
    peer.messages.push(chunks)
    chunks = ''
    answerDot()
  }

  function answerDot(): void {
    const { dot = '250 2.0.0 taken' } = script
    const answers = typeof dot === 'function' ? dot(accepted) : [dot].flat()
    for (const [i, answer] of answers.entries()) {
      if (clear.destroyed) return
      if (/^2/.test(answer)) peer.taken.push(...(lmtp ? accepted.slice(i, i + 1) : accepted))
      say(answer)
    }
  }

  function answerTo(line: string): Answer {
    const verb = line.split(' ', 1)[0]!.toUpperCase()
    if (verb === 'AUTH' || authPending) {
      const answer = script.auth?.[authLine++] ?? '235 2.7.0 welcome'
      authPending = answer.startsWith('334')
      return answer
    }
    lmtp ||= verb === 'LHLO'
    if (verb === 'EHLO' && socket !== clear && script.secureEhlo) return script.secureEhlo
    if (verb === 'EHLO' || verb === 'LHLO') return script.ehlo ?? lines(['peer.test', ...((socket !== clear && script.secureExtensions) || script.extensions || [])])
    if (verb === 'STARTTLS') return script.starttls ?? '220 go ahead'
    if (verb === 'MAIL') {
      accepted = []
      return script.mail ?? '250 2.1.0 ok'
    }
    if (verb === 'RCPT') {
      const address = /<(.*)>/.exec(line)?.[1] ?? ''
      const answer = script.rcpt?.[address] ?? script.rcpt?.['*'] ?? '250 2.1.5 ok'
      if (!answer.startsWith('250')) return answer
      if (accepted.length >= (script.rcptMost ?? 1000)) return '452 4.5.3 too many recipients'
      accepted.push(address)
      return answer
    }
    if (verb === 'DATA') {
      const answer = script.data ?? '354 go on'
      inData = answer.startsWith('354')
      if (inData && script.stall) socket.pause()
      return answer
    }
    if (verb === 'RSET') return script.rset ?? '250 ok'
    return verb === 'QUIT' ? '221 bye' : '250 ok'
  }
}

function lines(words: string[]): string {
  return words.map((word, i) => `250${i === words.length - 1 ? ' ' : '-'}${word}`).join('\r\n')
}

export const testBody = 'Subject: x\r\n\r\n.dot\r\n..two\r\nend\r\n'

/** A request for a@x.test and b@x.test on 127.0.0.1, with short time limits. */
export function testRequest(port: number, change: Partial<TransferRequest> = {}): TransferRequest {
  return {
    protocol: 'smtp', hosts: ['127.0.0.1'], port, tls: async () => plainTls('may'), auth: null, source: {}, addressFamilies: ['ipv4', 'ipv6'], helo: 'mx.example.test',
    envelope: { reversePath: 's@a.test', body: '7BIT', smtpUtf8: false, requireTls: false, ret: null, envid: null }, size: testBody.length,
    recipients: recipientsOf('a@x.test', 'b@x.test'), content: async function* () { yield Buffer.from(testBody) },
    timeouts: { connect: 500, greeting: 300, mail: 300, rcpt: 300, data: 300, block: 300, dot: 300 },
    beforeDot: async () => true, partly: async () => {}, signal: new AbortController().signal,
    ...change,
  }
}

export function recipientsOf(...forwardPaths: string[]): TransferRequest['recipients'] {
  return forwardPaths.map((forwardPath, n) => ({ n, forwardPath, notify: [], orcpt: null }))
}
