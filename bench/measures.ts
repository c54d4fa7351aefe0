// What is measured: each function is one measure of one round, on servers that all of them share.

import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startPostgres } from '../dev/postgres.ts'
import { startTemporal } from '../dev/temporal.ts'
import { type Everpost, prepareEverpost } from '../test/support/everpost.ts'
import { cpuOf, peakMemory } from './cpu.ts'
import { type Figures, startChild } from './protocol.ts'

export interface Measured {
  /** A second. */
  rate?: number
  /** Milliseconds. */
  latency?: { p50: number; p99: number }
  /** Milliseconds of CPU for each message, by process. */
  cpu?: Record<string, number>
  /** MiB. */
  memory?: number
}

export interface Bench {
  seconds: number
  temporal: { address: string; pid: number }
  postgres: { url: string; pid: number }
  end(): Promise<void>
}

const clients = 20
const size = 10 * 1024

export async function prepareBench(seconds: number, progress: (line: string) => void): Promise<Bench> {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-bench-'))
  const postgres = await startPostgres({ folder, progress })
  const temporal = await startTemporal({ folder: join(folder, 'temporal'), progress })
  process.env['EVERPOST_TEST_DATABASE_URL'] = postgres.url
  process.env['EVERPOST_TEST_TEMPORAL'] = temporal.address
  return {
    seconds, temporal, postgres,
    async end() {
      await temporal.stop()
      await postgres.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export const measures: Record<string, (bench: Bench) => Promise<Measured>> = {
  /** What Temporal allows: empty workflows. */
  async ceiling({ temporal, seconds }) {
    return summary(await startChild('ceiling').ask({ temporal: temporal.address, atOnce: clients, seconds }))
  },
  /** Accepted, driven by a workflow, taken by the sink: as many under way as in the ceiling. */
  async 'end-to-end'(bench) {
    return await withLoad(bench, 'serve', {}, { clients, size, untilDelivered: true, rate: 0 })
  },
  /** Bare commits of the same bytes. */
  async commits({ postgres, seconds }) {
    return summary(await startChild('postgres-loop').ask({ database: postgres.url, connections: 10, seconds, size }))
  },
  /** Accepted only: Temporal is away. */
  async accept(bench) {
    return await withLoad(bench, 'ingress', { TEMPORAL_ADDRESS: '127.0.0.1:1' }, { clients, size, untilDelivered: false, rate: 0 })
  },
  /** From the 250 to the sink at ten messages a second. */
  async latency(bench) {
    return await withLoad(bench, 'serve', {}, { clients: 5, size, untilDelivered: true, rate: 10 })
  },
  /** The most memory that ingress takes with fifty messages of 50 MiB at once. */
  async memory() {
    const everpost = await prepareEverpost({ limits: { messageSize: '51MiB' } })
    try {
      const ingress = await everpost.start('ingress', { TEMPORAL_ADDRESS: '127.0.0.1:1' })
      await Promise.all(Array.from({ length: 50 }, () => sendLarge(everpost.ports['smtp']!, 50 * 1024 * 1024)))
      return { memory: peakMemory(ingress.pid!) }
    } finally {
      await everpost.end()
    }
  },
}

interface Load {
  clients: number
  size: number
  untilDelivered: boolean
  rate: number
}

async function withLoad(bench: Bench, role: string, environment: NodeJS.ProcessEnv, load: Load): Promise<Measured> {
  const child = startChild('load')
  const { sink } = await child.hello
  const everpost: Everpost = await prepareEverpost({ routes: [{ domain: 'sink.bench', nextHop: `[127.0.0.1]:${sink}` }], limits: { outbox: 1_000_000 } })
  try {
    const process = await everpost.start(role, environment)
    const processes = { [`everpost ${role}`]: process.pid!, temporal: bench.temporal.pid, postgres: bench.postgres.pid }
    const used = () => Object.entries(processes).map(([name, pid]) => [name, cpuOf(pid)] as const)
    let before = used()
    const figures = await child.ask({ port: everpost.ports['smtp'], seconds: bench.seconds, ...load }, () => { before = used() })
    const cpu = Object.fromEntries(used().map(([name, ms], i) => [name, (ms - before[i]![1]) / Math.max(1, figures.count)]))
    return { ...summary(figures), cpu }
  } finally {
    await everpost.end()
  }
}

function summary({ count, seconds, latencies }: Figures): Measured {
  const sorted = latencies.sort((a, b) => a - b)
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
  return { rate: count / seconds, latency: { p50: at(0.5), p99: at(0.99) } }
}

async function sendLarge(port: number, octets: number): Promise<void> {
  const socket = connect(port, '127.0.0.1').setEncoding('latin1')
  const expect = async (code: string) => {
    let text = ''
    while (!new RegExp(`^${code} .*\r\n$`, 'm').test(text)) text += (await once(socket, 'data'))[0]
  }
  await expect('220')
  for (const [line, code] of [['EHLO load.bench', '250'], ['MAIL FROM:<a@sender.bench>', '250'], ['RCPT TO:<carol@example.test>', '250'], ['DATA', '354']]) {
    socket.write(`${line}\r\n`)
    await expect(code!)
  }
  const block = Buffer.alloc(64 * 1024 - 2, `${'x'.repeat(62)}\r\n`)
  for (let sent = 0; sent + block.length <= octets; sent += block.length) {
    if (!socket.write(block)) await once(socket, 'drain')
  }
  const replied = expect('250')
  socket.write('\r\n.\r\n')
  await replied
  socket.destroy()
}
