// npm run bench:tar-pit: one destination of a thousand never says a word. How long do the others wait for their mail, beside rounds
// without it? Rounds with and without take turns in one process, so that other work on the machine hits both alike; those without send as
// much mail, to a host that takes it. Each with has a tar pit of its own, whose mail is dropped and whose connections are closed at its end.
// --rounds N, --seconds N, --rate N (messages a second to the 999), --pit N (a second to the tar pit), --json FILE.

import { writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createTransport } from 'nodemailer'
import { startDnsServer, type Zone } from '../smtp/testing-dns.ts'
import { prepareEverpost } from '../test/support/everpost.ts'
import { median } from './figures.ts'

const { values } = parseArgs({ options: {
  rounds: { type: 'string', default: '6' }, seconds: { type: 'string', default: '20' }, rate: { type: 'string', default: '12' }, pit: { type: 'string', default: '5' }, json: { type: 'string' },
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
const pitSockets = new Set<Socket>()
const tarPit = createServer((socket) => {
  pitConnections++
  pitSockets.add(socket)
  socket.on('error', () => {}).on('close', () => pitSockets.delete(socket)).resume()
})
await new Promise<void>((resolve) => tarPit.listen(port, '127.0.0.2', resolve))

const pitName = (round: number) => `pit${round}.test`
const healthy = 'healthy.test'
const names = [healthy, ...Array.from({ length: rounds }, (_, i) => pitName(i + 1)), ...Array.from({ length: destinations }, (_, i) => `d${i}.test`)]
const zone: Zone = Object.fromEntries(names.flatMap((name) => [
  [`${name}/MX`, [{ preference: 10, exchange: `mx.${name}` }]], [`mx.${name}/A`, [name.startsWith('pit') ? '127.0.0.2' : '127.0.0.1']],
]))
const dns = await startDnsServer(zone)
const everpost = await prepareEverpost({ dns: { servers: [dns.server] }, routes: names.map((domain) => ({ domain, nextHop: `${domain}:${port}` })), retry: {}, worker: {} })
const results: { round: number; pit: boolean; messages: number; p50: number; p99: number; connections: number }[] = []
const pooled = { with: [] as number[], without: [] as number[] }
try {
  await everpost.start()
  const transport = createTransport({ host: '127.0.0.1', port: everpost.ports['smtp']!, ignoreTLS: true, pool: true, maxConnections: 10, maxMessages: Number.POSITIVE_INFINITY })
  const send = async (domain: string, key: string) => {
    if (domain !== healthy) sentAt.set(key, performance.now())
    await transport.sendMail({ envelope: { from: 'sender@example.test', to: `x@${domain}` }, raw: `Subject: ${key}\r\n\r\n${'Hello. '.repeat(100)}\r\n` })
  }
  await run('warm', 10, healthy)
  for (let round = 1; round <= rounds; round++) {
    for (const withPit of round % 2 === 1 ? [false, true] : [true, false]) {
      const before = pitConnections
      const measured = await run(`r${round}${withPit ? 'p' : 'n'}`, seconds, withPit ? pitName(round) : healthy)
      if (withPit) await forget(pitName(round))
      pooled[withPit ? 'with' : 'without'].push(...latencies)
      results.push({ ...measured, round, pit: withPit, connections: pitConnections - before })
      console.log(`round ${round} ${withPit ? 'with   ' : 'without'} the tar pit: ${describe(results.at(-1)!)}`)
    }
  }
  const medianOf = (withPit: boolean, key: 'p50' | 'p99') => median(results.filter((result) => result.pit === withPit).map((result) => result[key]))
  const ratio = { p50: medianOf(true, 'p50') / medianOf(false, 'p50'), p99: medianOf(true, 'p99') / medianOf(false, 'p99') }
  const all = { p50: part(pooled.with, 0.5) / part(pooled.without, 0.5), p99: part(pooled.with, 0.99) / part(pooled.without, 0.99) }
  console.log(`medians of the rounds: p99 ${medianOf(true, 'p99').toFixed(0)} ms with, ${medianOf(false, 'p99').toFixed(0)} ms without`)
  console.log(`all messages together: p99 ${part(pooled.with, 0.99).toFixed(0)} ms with, ${part(pooled.without, 0.99).toFixed(0)} ms without`)
  console.log(`the others, with the tar pit to without: by medians p50 ${ratio.p50.toFixed(2)}, p99 ${ratio.p99.toFixed(2)}; all together p50 ${all.p50.toFixed(2)}, p99 ${all.p99.toFixed(2)}`)
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ rounds, seconds, rate, pit, ratio, all, results }, null, 2)}\n`)
  transport.close()

  async function run(name: string, time: number, beside: string): Promise<{ messages: number; p50: number; p99: number }> {
    latencies = []
    const sends: Promise<void>[] = []
    for (let i = 0; i < time * rate; i++) {
      sends.push(send(`d${(i * 7) % destinations}.test`, `${name}x${i}`))
      const due = (n: number) => Math.floor((n * pit) / rate)
      for (let n = due(i); n < due(i + 1); n++) sends.push(send(beside, `${name}beside${n}`))
      await sleep(1000 / rate)
    }
    await Promise.all(sends)
    for (let waited = 0; latencies.length < time * rate && waited < 60_000; waited += 100) await sleep(100)
    if (latencies.length < time * rate) throw new Error(`${time * rate - latencies.length} messages did not arrive within a minute`)
    return { messages: latencies.length, p50: part(latencies, 0.5), p99: part(latencies, 0.99) }
  }

  async function waiting(domain: string): Promise<number> {
    return (await everpost.sql`select from recipients where domain = ${domain} and state = 'queued'`).length
  }

  /** Gives up what waits for a tar pit, breaks its connections, and waits until nothing is under way. */
  async function forget(name: string): Promise<void> {
    // Again while a worker is too busy to answer; the last time nothing is left that matches.
    for (let tries = 0; tries < 5 && (await waiting(name)) > 0; tries++) await everpost.command('drop', '--domain', name, '--yes', '--why', 'the round is over')
    if ((await waiting(name)) > 0) throw new Error(`the mail for ${name} could not be dropped`)
    for (const socket of pitSockets) socket.destroy()
    for (let open = 1; open > 0; await sleep(100)) open = (await everpost.sql`select from attempts where ended_at is null`).length
  }
} finally {
  await everpost.end()
  for (const socket of [...sockets, ...pitSockets]) socket.destroy()
  host.close()
  tarPit.close()
  await dns.close()
}

function describe({ messages, p50, p99, connections }: (typeof results)[number]): string {
  return `${messages} messages to the others, p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms; ${connections} connections to the tar pit`
}

/** The value that this part of them is not above. */
function part(of: number[], share: number): number {
  const sorted = [...of].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
}
