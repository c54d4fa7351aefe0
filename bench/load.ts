// A process with SMTP clients that send, and a sink that takes and counts: one clock for both ends of a message's way.

import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Figures, type LoadRequest, reply, warmUp } from './protocol.ts'

const arrivals = new Map<string, () => void>()

const sink = createServer((socket) => takeMail(socket.setNoDelay()))
sink.listen(0, '127.0.0.1', () => reply({ sink: (sink.address() as { port: number }).port }))
process.once('message', (request: LoadRequest) => {
  void run(request).then(reply)
})

async function run(request: LoadRequest): Promise<Figures> {
  const latencies: number[] = []
  let measuring = false
  let end = Number.POSITIVE_INFINITY
  const loops = Array.from({ length: request.clients }, async (_, i) => {
    let client = await openClient(request.port)
    for (let n = 0; performance.now() < end; n++) {
      const begun = performance.now()
      const mark = `mark-${process.pid}-${i}-${n}`
      const arrived = new Promise<void>((resolve) => arrivals.set(mark, resolve))
      const accepted = await client.send(`m${i}@sink.bench`, messageOf(mark, request.size))
      if (request.untilDelivered) await arrived
      arrivals.delete(mark)
      if (request.reconnect) {
        await client.close()
        client = await openClient(request.port)
      }
      if (measuring) latencies.push(performance.now() - (request.rate > 0 ? accepted : begun))
      if (request.rate > 0) await sleep(Math.max(0, (1000 * request.clients) / request.rate - (performance.now() - begun)))
    }
    await client.close()
  })
  await sleep(warmUp(request.seconds))
  measuring = true
  reply({ measuring: true })
  end = performance.now() + request.seconds * 1000
  await Promise.all(loops)
  return { count: latencies.length, seconds: request.seconds, latencies }
}

const bodies = new Map<number, string>()

function messageOf(mark: string, size: number): string {
  const head = `X-Mark: ${mark}\r\nFrom: <a@sender.bench>\r\nSubject: benchmark\r\n\r\n`
  const lines = Math.ceil(Math.max(0, size - head.length) / 78)
  if (!bodies.has(lines)) bodies.set(lines, `${`${'x'.repeat(76)}\r\n`.repeat(lines)}.\r\n`)
  return head + bodies.get(lines)!
}

/** A client with one connection; `send` resolves with the moment of the 250. What it costs is not to be measured: no more than must be. */
async function openClient(port: number): Promise<{ send: (to: string, message: string) => Promise<number>; close: () => Promise<void> }> {
  const socket = connect(port, '127.0.0.1').setNoDelay().setEncoding('latin1')
  let rest = ''
  let wanted: string[] = []
  let settle: { done: () => void; failed: (error: Error) => void } | null = null
  let broken: Error | null = null
  const fail = (what: string) => {
    broken ??= new Error(what)
    settle?.failed(broken)
  }
  socket.on('error', (error) => fail(String(error))).on('close', () => fail('the server closed the connection'))
  socket.on('data', (text: string) => {
    rest += text
    for (let end = rest.indexOf('\r\n'); end >= 0; end = rest.indexOf('\r\n')) {
      const line = rest.slice(0, end)
      rest = rest.slice(end + 2)
      if (line[3] === '-') continue
      if (!line.startsWith(wanted.shift() ?? 'nothing')) return fail(`the server said: ${line}`)
    }
    if (wanted.length === 0) settle?.done()
  })
  /** Resolves when the server has replied with these codes, in order. */
  const exchange = (text: string, ...codes: string[]) => new Promise<void>((done, failed) => {
    if (broken) return failed(broken)
    wanted = codes
    settle = { done, failed }
    if (text) socket.write(text, 'latin1')
  })
  await exchange('', '220')
  await exchange('EHLO load.bench\r\n', '250')
  return {
    async send(to, message) {
      await exchange(`MAIL FROM:<a@sender.bench>\r\nRCPT TO:<${to}>\r\nDATA\r\n`, '250', '250', '354')
      await exchange(message, '250')
      return performance.now()
    },
    async close() {
      await exchange('QUIT\r\n', '221')
      socket.destroy()
    },
  }
}

/** Takes everything, and tells whoever waits for the mark in it. */
function takeMail(socket: Socket): void {
  let input = ''
  let inData = false
  socket.on('error', () => {})
  socket.write('220 sink.bench ESMTP\r\n')
  socket.setEncoding('latin1').on('data', (text: string) => {
    input += text
    for (;;) {
      const end = input.indexOf(inData ? '\r\n.\r\n' : '\r\n')
      if (end < 0) return
      const line = input.slice(0, end)
      input = input.slice(end + (inData ? 5 : 2))
      if (inData) {
        arrivals.get(/^X-Mark: (.*)$/m.exec(line)?.[1]?.trim() ?? '')?.()
        inData = false
        socket.write('250 2.0.0 taken\r\n')
      } else if (line === 'DATA') {
        inData = true
        socket.write('354 go on\r\n')
      } else socket.write(line.startsWith('EHLO') ? '250-sink.bench\r\n250-PIPELINING\r\n250 8BITMIME\r\n' : '250 ok\r\n')
    }
  })
}
