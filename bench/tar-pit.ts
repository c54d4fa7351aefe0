// npm run bench:tar-pit: one destination of a thousand never says a word. How long do the others wait for their mail, beside a run
// without it? Rounds with and without take turns in one process, so that other work on the machine hits both alike.
// --rounds N, --seconds N, --rate N (messages a second to the 999), --pit N (a second to the tar pit), --json FILE.

import { writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createTransport } from 'nodemailer'
import { startDnsServer, type Zone } from '../smtp/testing-dns.ts'
import { prepareEverpost } from '../test/support/everpost.ts'

const { values } = parseArgs({ options: {
  rounds: { type: 'string', default: '3' }, seconds: { type: 'string', default: '20' }, rate: { type: 'string', default: '15' }, pit: { type: 'string', default: '5' }, json: { type: 'string' },
} })
const [rounds, seconds, rate, pit] = [Number(values.rounds), Number(values.seconds), Number(values.rate), Number(values.pit)]
const destinations = 999
const sockets = new Set<Socket>()
const sentAt = new Map<string, number>()
let latencies: number[] = []

/** Takes mail at once, and notes how long ago it was sent. */
const host = createServer((socket) => {
  sockets.add(socket)
  socket.on('error', () => {}).on('close', () => sockets.delete(socket))
  let inData = false
  const say = (line: string) => socket.write(`${line}\r\n`)
  say('220 host.test')
  socket.setEncoding('latin1').on('data', (text: string) => {
    for (const line of text.split('\r\n').slice(0, -1)) {
      const sent = inData ? sentAt.get(/^Subject: (\w+)$/.exec(line)?.[1] ?? '') : undefined
      if (sent !== undefined) latencies.push(performance.now() - sent)
      if (inData && line !== '.') continue
      if (line === 'DATA') say('354 go on')
      else if (line === 'QUIT') socket.end('221 bye\r\n')
      else say('250 ok')
      inData = line === 'DATA'
    }
  })
})
await new Promise<void>((resolve) => host.listen(0, '127.0.0.1', resolve))
const { port } = host.address() as { port: number }
let pitConnections = 0
const tarPit = createServer((socket) => {
  pitConnections++
  sockets.add(socket)
  socket.on('error', () => {}).on('close', () => sockets.delete(socket)).resume()
})
await new Promise<void>((resolve) => tarPit.listen(port, '127.0.0.2', resolve))

const names = ['pit.test', ...Array.from({ length: destinations }, (_, i) => `d${i}.test`)]
const zone: Zone = Object.fromEntries(names.flatMap((name) => [
  [`${name}/MX`, [{ preference: 10, exchange: `mx.${name}` }]], [`mx.${name}/A`, [name === 'pit.test' ? '127.0.0.2' : '127.0.0.1']],
]))
const dns = await startDnsServer(zone)
const everpost = await prepareEverpost({ dns: { servers: [dns.server] }, routes: names.map((domain) => ({ domain, nextHop: `${domain}:${port}` })), retry: {}, worker: {} })
const results: { pit: boolean; messages: number; p50: number; p99: number; connections: number }[] = []
try {
  await everpost.start()
  const transport = createTransport({ host: '127.0.0.1', port: everpost.ports['smtp']!, ignoreTLS: true, pool: true, maxConnections: 10, maxMessages: Number.POSITIVE_INFINITY })
  const send = async (domain: string, key: string) => {
    sentAt.set(key, performance.now())
    await transport.sendMail({ envelope: { from: 'sender@example.test', to: `x@${domain}` }, raw: `Subject: ${key}\r\n\r\n${'Hello. '.repeat(100)}\r\n` })
  }
  await run('warm', 5, false)
  for (let round = 1; round <= rounds; round++) {
    for (const withPit of round % 2 === 1 ? [false, true] : [true, false]) {
      const before = pitConnections
      const measured = await run(`r${round}${withPit ? 'p' : 'n'}`, seconds, withPit)
      results.push({ ...measured, pit: withPit, connections: pitConnections - before })
      console.log(`round ${round} ${withPit ? 'with   ' : 'without'} the tar pit: ${describe(results.at(-1)!)}`)
    }
  }
  const ofAll = (withPit: boolean, key: 'p50' | 'p99') => mean(results.filter((result) => result.pit === withPit).map((result) => result[key]))
  const ratio = { p50: ofAll(true, 'p50') / ofAll(false, 'p50'), p99: ofAll(true, 'p99') / ofAll(false, 'p99') }
  console.log(`the others, with the tar pit to without: p50 ${ratio.p50.toFixed(2)}, p99 ${ratio.p99.toFixed(2)}`)
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ rounds, seconds, rate, pit, ratio, results }, null, 2)}\n`)
  transport.close()

  async function run(name: string, time: number, withPit: boolean): Promise<{ messages: number; p50: number; p99: number }> {
    latencies = []
    const sends: Promise<void>[] = []
    for (let i = 0; i < time * rate; i++) {
      sends.push(send(`d${(i * 7) % destinations}.test`, `${name}x${i}`))
      if (withPit && i % Math.round(rate / pit) === 0) sends.push(send('pit.test', `${name}pit${i}`))
      await sleep(1000 / rate)
    }
    await Promise.all(sends)
    for (let waited = 0; latencies.length < time * rate && waited < 60_000; waited += 100) await sleep(100)
    if (latencies.length < time * rate) throw new Error(`${time * rate - latencies.length} messages did not arrive within a minute`)
    const sorted = latencies.sort((a, b) => a - b)
    const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!
    return { messages: sorted.length, p50: at(0.5), p99: at(0.99) }
  }
} finally {
  await everpost.end()
  for (const socket of sockets) socket.destroy()
  host.close()
  tarPit.close()
  await dns.close()
}

function describe({ messages, p50, p99, connections }: (typeof results)[number]): string {
  return `${messages} messages to the others, p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms; ${connections} connections to the tar pit`
}

function mean(of: number[]): number {
  return of.reduce((sum, each) => sum + each, 0) / of.length
}
