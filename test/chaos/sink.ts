// The next hop, a process of its own: takes, refuses, defers and misbehaves as plan and seed say, and writes down each message that it took.

import { appendFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { startDnsServer, type Zone } from '../../smtp/testing-dns.ts'
import { fateOf, markOf, planOf } from './plan.ts'
import { type Random, randomOf } from './random.ts'

export interface SinkOrders {
  seed: number
  port: number
  takings: string
}

export interface Taking {
  at: string
  /** Queue id, from the Received field that Everpost prepends. */
  id: string
  recipients: string[]
  /** Whether the 250 was written. */
  replied: boolean
  /** The message differs from what was sent. */
  corrupt: boolean
  /** For a report: the recipients that it says have failed. */
  failed: string[] | null
}

export type SinkCommand = { do: 'close' | 'open' } | { do: 'dns'; answer: 'right' | 'SERVFAIL' | 'SILENT' }

/** Where a connection is spoilt, and how. */
type Step = 'greeting' | 'EHLO' | 'MAIL' | 'RCPT' | 'DATA' | 'body' | 'dot'
const steps: Step[] = ['greeting', 'EHLO', 'MAIL', 'RCPT', 'DATA', 'body', 'dot']
const spoilt = 0.05
/** Slower and longer than the time-outs and bounds of whoever listens. */
const hows = ['reset', '421', '451', 'silence', 'drip', 'endless'] as const
const drip = 150

process.once('disconnect', () => process.exit())
process.once('message', (orders: SinkOrders) => {
  void run(orders)
})

async function run({ seed, port, takings }: SinkOrders): Promise<void> {
  writeFileSync(takings, '')
  const random = randomOf(seed, 'sink')
  const deferred = new Set<string>()
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
    void converse(socket.setNoDelay(), { seed, random, deferred, takings }).catch(() => {}).finally(() => socket.destroy())
  })
  const listen = () => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const right: Zone = { 'mx.chaos/MX': [{ preference: 10, exchange: 'host.mx.chaos' }], 'host.mx.chaos/A': ['127.0.0.1'] }
  const wrong = (answer: 'SERVFAIL' | 'SILENT'): Zone => ({ 'mx.chaos/MX': answer, 'host.mx.chaos/A': answer, 'nowhere.chaos/MX': answer })
  const dns = await startDnsServer(right)
  await listen()
  process.on('message', (command: SinkCommand) => {
    if (command.do === 'dns') dns.zone = command.answer === 'right' ? right : wrong(command.answer)
    if (command.do === 'close') {
      server.close()
      for (const socket of sockets) socket.resetAndDestroy()
    }
    if (command.do === 'open') void listen()
  })
  process.send!({ dns: dns.server })
}

interface Sink {
  seed: number
  random: Random
  deferred: Set<string>
  takings: string
}

async function converse(socket: Socket, sink: Sink): Promise<void> {
  const { random, deferred } = sink
  const bad = random.next() < spoilt ? { step: random.pick(steps), how: random.pick(hows) } : null
  /** True when the conversation ends here. */
  const spoil = async (step: Step): Promise<boolean> => {
    if (bad?.step !== step) return false
    if (bad.how === 'reset') socket.resetAndDestroy()
    else if (bad.how === '421') socket.end('421 4.3.2 Service closing\r\n')
    else if (bad.how === '451') socket.end('451 4.3.0 Not now\r\n')
    else if (bad.how === 'silence') await sleep(20_000, undefined, { ref: false })
    else await trickle(socket, bad.how)
    return true
  }
  const say = (line: string) => socket.write(`${line}\r\n`)
  if (await spoil('greeting')) return
  say('220 sink.chaos ESMTP')
  let recipients: string[] = []
  const lines = linesOf(socket)
  for await (const line of lines) {
    const verb = line.slice(0, 4)
    if (await spoil(verb as Step)) return
    if (verb === 'EHLO') say('250-sink.chaos\r\n250-PIPELINING\r\n250 8BITMIME')
    else if (verb === 'MAIL') {
      recipients = []
      say('250 2.1.0 Ok')
    } else if (verb === 'RCPT') {
      const address = /<(.*)>/.exec(line)![1]!
      if (fateOf(address) === 'refuse') say('550 5.1.1 No such user')
      else if (fateOf(address) === 'defer' && !deferred.has(address)) {
        deferred.add(address)
        say('450 4.7.1 Greylisted')
      } else {
        recipients.push(address)
        say('250 2.1.5 Ok')
      }
    } else if (verb === 'DATA') {
      if (recipients.length === 0) {
        say('503 5.5.1 No recipients')
        continue
      }
      say('354 Go on')
      if (await spoil('body')) return
      const text = await readBody(lines)
      if (text === null) return
      if (random.next() < 0.3) await sleep(random.between(1, 20))
      if (recipients.some((address) => fateOf(address) === 'late')) {
        say('554 5.6.0 Refused')
        continue
      }
      const replied = bad?.step !== 'dot'
      // Refused is not taken; broken off without a word, it is.
      if (!replied && (bad?.how === '421' || bad?.how === '451')) return void (await spoil('dot'))
      appendFileSync(sink.takings, `${JSON.stringify(takingOf(sink.seed, recipients, text, replied))}\n`)
      if (await spoil('dot')) return
      say('250 2.0.0 Taken')
    } else if (verb === 'QUIT') return void say('221 2.0.0 Bye')
    else say('250 2.0.0 Ok')
  }
}

/** A tar pit: a reply an octet at a time, or one of lines without end. */
async function trickle(socket: Socket, how: 'drip' | 'endless'): Promise<void> {
  if (how === 'drip') {
    for (const octet of '250 2.0.0 Yes, in the end, and by and by\r\n') {
      if (socket.destroyed) return
      socket.write(octet)
      await sleep(drip)
    }
    return
  }
  for (let n = 0; n < 10_000 && !socket.destroyed; n++) {
    socket.write('250-and furthermore\r\n')
    if (n % 50 === 0) await sleep(10)
  }
}

function takingOf(seed: number, recipients: string[], text: string, replied: boolean): Taking {
  const id = /^Received: [\s\S]*? id (\w+)/.exec(text)?.[1] ?? ''
  const mark = /^X-Mark: (\d+)$/m.exec(text.slice(text.indexOf('X-Mark')).split('\r\n', 1)[0]!)?.[1]
  const failed = text.includes('report-type=delivery-status') ? [...text.matchAll(/^Final-Recipient: rfc822; ?(\S+)/gm)].map((match) => match[1]!) : null
  const sent = planOf(seed, Number(mark ?? markOf(recipients[0]!))).body.toString('latin1')
  return { at: new Date().toISOString(), id, recipients, replied, corrupt: failed === null && !text.endsWith(`\r\n${sent}`), failed }
}

/** The octets up to the dot, unstuffed; null when the client leaves before it. */
async function readBody(lines: AsyncGenerator<string>): Promise<string | null> {
  const body: string[] = []
  for (;;) {
    const { value, done } = await lines.next()
    if (done) return null
    if (value === '.') return `${body.join('\r\n')}\r\n`
    body.push(value.startsWith('.') ? value.slice(1) : value)
  }
}

async function* linesOf(socket: Socket): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of socket.setEncoding('latin1')) {
    const parts = (rest + chunk).split('\r\n')
    rest = parts.pop()!
    yield* parts
  }
}
