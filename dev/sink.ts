// The sink of dev mode: a mail host for *.sink.test whose local parts pick the fault, so that retries and bounces can be seen without the internet.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** What a local part does; every other one is taken at once. */
export const sinkFaults = {
  greylist: '450 at RCPT the first time, taken afterwards',
  '451, 550, ...': 'that reply at RCPT',
  'data-451, data-554, ...': 'that reply after the final dot',
  full: '452 4.2.2 at RCPT',
  '421': 'the service closes at RCPT',
  slow: 'taken after 10 s',
  tarpit: 'every reply takes 30 s',
  drop: 'the connection breaks at RCPT',
  'drop-after-dot': 'taken, but the connection breaks before the reply, the first time: a duplicate that RFC 5321 allows',
}

export interface Sink {
  port: number
  stop(): Promise<void>
}

/**
 * Starts the sink on a free port of 127.0.0.1. What it takes is kept in `folder`, one file for each transaction. While a file
 * `fault` lies there, the reply code in it is what every recipient gets: a destination that can be broken and mended.
 */
export async function startSink(folder: string): Promise<Sink> {
  mkdirSync(folder, { recursive: true })
  const sockets = new Set<Socket>()
  const seen = new Set<string>()
  const server = createServer((socket) => {
    sockets.add(socket.setNoDelay())
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
    void converse(socket, folder, seen).catch(() => {}).finally(() => socket.end())
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as { port: number }).port,
    stop: () => new Promise((resolve) => {
      server.close(() => resolve())
      for (const socket of sockets) socket.destroy()
    }),
  }
}

async function converse(socket: Socket, folder: string, seen: Set<string>): Promise<void> {
  const lines = linesOf(socket)
  const say = (reply: string) => socket.write(`${reply}\r\n`)
  let sender = ''
  let recipients: string[] = []
  const has = (fault: string) => recipients.some((address) => localPart(address) === fault)
  /** True once for each sender, recipient and fault. */
  const first = (fault: string, address: string) => {
    const key = `${fault} ${sender} ${address}`
    return !seen.has(key) && seen.add(key) !== undefined
  }

  say('220 sink.test ESMTP Everpost sink')
  for await (const line of lines) {
    const verb = line.split(' ', 1)[0]!.toUpperCase()
    const address = /<(.*?)>/.exec(line)?.[1] ?? ''
    if (has('tarpit')) await sleep(30_000)
    if (verb === 'EHLO') say('250-sink.test\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES')
    else if (verb === 'MAIL') {
      sender = address
      recipients = []
      say('250 2.1.0 Ok')
    } else if (verb === 'RCPT') {
      const fault = localPart(address)
      if (fault === 'drop') return void socket.destroy()
      const refusal = faultOf(folder) ?? (fault === 'greylist' ? (first(fault, address) ? '450 4.7.1 Greylisted, try again later' : null) : rcptRefusals[fault] ?? byCode(fault, ''))
      if (refusal === null) recipients.push(address)
      say(refusal ?? '250 2.1.5 Ok')
      if (refusal?.startsWith('421')) return
    } else if (verb === 'DATA') {
      if (recipients.length === 0) {
        say('503 5.5.1 No recipients')
        continue
      }
      say('354 End data with <CR><LF>.<CR><LF>')
      const body = await readBody(lines)
      if (body === null) return
      const refusal = recipients.map((each) => byCode(localPart(each), 'data-')).find((each) => each !== null)
      if (has('slow')) await sleep(10_000)
      if (!refusal) keep(folder, sender, recipients, body)
      const dropped = recipients.find((each) => localPart(each) === 'drop-after-dot')
      if (!refusal && dropped !== undefined && first('drop-after-dot', dropped)) return void socket.destroy()
      say(refusal ?? '250 2.0.0 Taken')
      recipients = []
    } else if (verb === 'QUIT') return void say('221 2.0.0 Bye')
    else if (verb === 'RSET' || verb === 'NOOP' || verb === 'HELO') {
      if (verb === 'RSET') recipients = []
      say('250 2.0.0 Ok')
    } else say('502 5.5.1 Command not implemented')
  }
}

const rcptRefusals: Record<string, string> = {
  full: '452 4.2.2 Mailbox full',
  '421': '421 4.3.2 Service closing',
}

/** What the file `fault` asks for; null when there is none. One that cannot be meant says so, where it would be taken for a fault that is none. */
function faultOf(folder: string): string | null {
  try {
    return byCode(readFileSync(join(folder, 'fault'), 'utf8').trim(), '') ?? '451 4.3.5 The file fault holds no reply code such as 451 or 550'
  } catch {
    return null
  }
}

const localPart = (address: string) => address.slice(0, address.lastIndexOf('@')).toLowerCase()

/** The reply that a local part such as `550` or `data-451` asks for. */
function byCode(fault: string, prefix: string): string | null {
  const code = fault.startsWith(prefix) ? fault.slice(prefix.length) : ''
  return /^[45]\d\d$/.test(code) ? `${code} ${code[0]}.0.0 As asked for` : null
}

/** The octets up to the dot, unstuffed; null when the client leaves before it. */
async function readBody(lines: AsyncGenerator<string>): Promise<string | null> {
  const body: string[] = []
  for (;;) {
    const { value, done } = await lines.next()
    if (done) return null
    if (value === '.') return body.join('')
    body.push(`${value.startsWith('.') ? value.slice(1) : value}\r\n`)
  }
}

let taken = 0

function keep(folder: string, sender: string, recipients: string[], body: string): void {
  const name = `${new Date().toISOString().replaceAll(':', '-')}-${++taken}.eml`
  const envelope = `X-Sink-Envelope: <${sender}> to ${recipients.map((each) => `<${each}>`).join(', ')}\r\n`
  writeFileSync(join(folder, name), envelope + body, 'latin1')
}

/** Lines without their CRLF, octets as latin1. */
async function* linesOf(socket: Socket): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of socket.setEncoding('latin1')) {
    const parts = (rest + chunk).split('\r\n')
    rest = parts.pop()!
    yield* parts
  }
}
