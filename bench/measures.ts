// What is measured: each function is one measure of one round, on servers that all of them share.

import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startPostgres } from '../dev/postgres.ts'
import { startTemporal } from '../dev/temporal.ts'
import { startDnsServer } from '../smtp/testing-dns.ts'
import { openDatabase, type Sql } from '../store/database.ts'
import { type Everpost, prepareEverpost } from '../test/support/everpost.ts'
import { type Choices, startTemporalOnPostgres, temporalDatabases } from '../test/support/temporal-on-postgres.ts'
import { until } from '../test/support/until.ts'
import { cpuOf, cpuOfBackends, peakMemory } from './cpu.ts'
import { startExim } from './exim.ts'
import { startPostfix } from './postfix.ts'
import { type Child, type Figures, startChild } from './protocol.ts'

export interface Measured {
  /** A second. */
  rate?: number
  /** Milliseconds. */
  latency?: { p50: number; p99: number }
  /** Milliseconds of CPU for each message, by process. */
  cpu?: Record<string, number>
  /** MiB. */
  memory?: number
  /** Transactions of Everpost's database for each message, reads included. */
  transactions?: number
  /** The same of Temporal's databases, where they are on Postgres. */
  temporalTransactions?: number
  /** Of a message to many recipients: until all are settled, and how many attempts it took. */
  seconds?: number
  attempts?: number
}

interface Temporal {
  address: string
  pid: number
  /** Of its databases, where they are on our Postgres. */
  onPostgres?: boolean
}

export interface Bench {
  seconds: number
  temporal: Temporal
  /** The same, keeping nothing on disk; started when it is first needed. */
  inMemory(): Promise<Temporal>
  /** Its real server, on our Postgres. */
  onPostgres(): Promise<Temporal>
  postgres: { url: string; pid: number; sql: Sql }
  end(): Promise<void>
}

interface Load {
  clients: number
  size: number
  untilDelivered: boolean
  rate: number
  reconnect?: boolean
}

const clients = 20
const size = 10 * 1024
const endToEnd: Load = { clients, size, untilDelivered: true, rate: 0 }
const acceptOnly: Load = { clients, size, untilDelivered: false, rate: 0 }
/** Ten messages a second. */
const gentle: Load = { clients: 5, size, untilDelivered: true, rate: 10 }
/** Recipients of the message to one destination, and of that to many. */
const manyRecipients = 1000
const manyDestinations = 1000

export async function prepareBench(seconds: number, choices: Choices, progress: (line: string) => void): Promise<Bench> {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-bench-'))
  const postgres = await startPostgres({ folder, progress })
  const temporal = await startTemporal({ folder: join(folder, 'temporal'), progress })
  process.env['EVERPOST_TEST_DATABASE_URL'] = postgres.url
  process.env['EVERPOST_TEST_TEMPORAL'] = temporal.address
  const sql = openDatabase(postgres.url, 1)
  let inMemory: ReturnType<typeof startTemporal> | null = null
  let onPostgres: ReturnType<typeof startTemporalOnPostgres> | null = null
  return {
    seconds, temporal, postgres: { ...postgres, sql },
    inMemory: () => (inMemory ??= startTemporal({ folder: join(folder, 'temporal-in-memory'), inMemory: true, progress })),
    async onPostgres() {
      onPostgres ??= startTemporalOnPostgres({ folder: join(folder, 'temporal-on-postgres'), postgres: postgres.url, given: choices })
      return { ...(await onPostgres), onPostgres: true }
    },
    async end() {
      await sql.end({ timeout: 1 })
      await (await inMemory)?.stop()
      await (await onPostgres?.catch(() => null))?.stop()
      await temporal.stop()
      await postgres.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Measured in the first round alone: they vary little, and cost much. */
export const firstRoundOnly = new Set(['memory', 'queued-1000000', 'one-destination', 'many-destinations'])

export const measures: Record<string, (bench: Bench) => Promise<Measured>> = {
  /** What Temporal allows: empty workflows. */
  ceiling: (bench) => ceiling(bench, bench.temporal),
  /** Accepted, driven by a workflow, taken by the sink: as many under way as in the ceiling. */
  async 'end-to-end'(bench) {
    return await withLoad(bench, 'serve', {}, endToEnd)
  },
  /** Both with a Temporal that keeps nothing on disk, for those to whom Postgres alone is truth enough. */
  'ceiling-in-memory': async (bench) => await ceiling(bench, await bench.inMemory()),
  'end-to-end-in-memory': async (bench) => await withTemporal(bench, await bench.inMemory(), endToEnd),
  /** Both, and the gentle load, with Temporal's real server, which shares our Postgres. */
  'ceiling-on-postgres': async (bench) => await ceiling(bench, await bench.onPostgres()),
  'end-to-end-on-postgres': async (bench) => await withTemporal(bench, await bench.onPostgres(), endToEnd),
  'latency-on-postgres': async (bench) => await withTemporal(bench, await bench.onPostgres(), gentle),
  /** The same with a queue of messages that wait for their next attempt. */
  async 'queued-1000'(bench) {
    return await withLoad(bench, 'serve', {}, endToEnd, (sql) => fillQueue(sql, 1000))
  },
  async 'queued-1000000'(bench) {
    return await withLoad(bench, 'serve', {}, endToEnd, (sql) => fillQueue(sql, 1_000_000))
  },
  /** The same by Postfix and by Exim, where they are installed. */
  'postfix-end-to-end': async (bench) => await withOther(bench, 'postfix', endToEnd),
  'postfix-accept': async (bench) => await withOther(bench, 'postfix', acceptOnly),
  'postfix-accept-each': async (bench) => await withOther(bench, 'postfix', { ...acceptOnly, reconnect: true }),
  'postfix-latency': async (bench) => await withOther(bench, 'postfix', gentle),
  'exim-end-to-end': async (bench) => await withOther(bench, 'exim', endToEnd),
  'exim-accept': async (bench) => await withOther(bench, 'exim', acceptOnly),
  'exim-accept-each': async (bench) => await withOther(bench, 'exim', { ...acceptOnly, reconnect: true }),
  'exim-latency': async (bench) => await withOther(bench, 'exim', gentle),
  /** One message to a thousand recipients at one destination, and one to as many destinations. */
  'one-destination': () => toMany(manyRecipients, 1),
  'many-destinations': () => toMany(manyDestinations, manyDestinations),
  /** Bare commits of the same bytes. */
  async commits({ postgres, seconds }) {
    return summary(await startChild('postgres-loop').ask({ database: postgres.url, connections: 10, seconds, size }))
  },
  /** Accepted only: Temporal is away. */
  async accept(bench) {
    return await withLoad(bench, 'ingress', { TEMPORAL_ADDRESS: '127.0.0.1:1' }, acceptOnly)
  },
  /** The same with a connection for each message. */
  async 'accept-each'(bench) {
    return await withLoad(bench, 'ingress', { TEMPORAL_ADDRESS: '127.0.0.1:1' }, { ...acceptOnly, reconnect: true })
  },
  /** The same by a bare smtp-server that throws messages away. */
  async 'bare-accept'(bench) {
    const [bare, child] = [startChild('bare'), startChild('load')]
    try {
      const { port } = await bare.hello
      return await underLoad(bench, child, port!, acceptOnly, { 'bare smtp-server': () => cpuOf(bare.pid) })
    } finally {
      bare.end()
    }
  },
  /** From the 250 to the sink at ten messages a second. */
  async latency(bench) {
    return await withLoad(bench, 'serve', {}, gentle)
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

async function ceiling({ postgres, seconds }: Bench, temporal: Temporal): Promise<Measured> {
  const child = startChild('ceiling')
  const cpu = { ceiling: () => cpuOf(child.pid), ...serversCpu(temporal, postgres) }
  return await watched(cpu, (measuring) => child.ask({ temporal: temporal.address, atOnce: clients, seconds }, measuring), () => temporalTransactions(temporal, postgres))
}

type Meters = Record<string, () => number>

function serversCpu(temporal: Temporal, postgres: Bench['postgres']): Meters {
  const part: Meters = temporal.onPostgres ? { "of which in temporal's databases": () => cpuOfBackends(postgres.pid, temporalDatabases) } : {}
  return { temporal: () => cpuOf(temporal.pid), postgres: () => cpuOf(postgres.pid), ...part }
}

/** Everpost with another Temporal than the usual one. */
async function withTemporal(bench: Bench, temporal: Temporal, load: Load): Promise<Measured> {
  return await withLoad({ ...bench, temporal }, 'serve', { TEMPORAL_ADDRESS: temporal.address }, load)
}

async function withLoad(bench: Bench, role: string, environment: NodeJS.ProcessEnv, load: Load, prepare?: (sql: Sql) => Promise<void>): Promise<Measured> {
  const child = startChild('load')
  const { sink } = await child.hello
  const everpost: Everpost = await prepareEverpost({ routes: [{ domain: 'sink.bench', nextHop: `[127.0.0.1]:${sink}` }], limits: { outbox: 1_000_000 } })
  try {
    await prepare?.(everpost.sql)
    const process = await everpost.start(role, environment)
    if (role === 'serve') await until('the worker polls', async () => /polling/.test(await (await fetch(`http://127.0.0.1:${everpost.ports['http']}/healthz`)).text()))
    const cpu = { [`everpost ${role}`]: () => cpuOf(process.pid!), ...serversCpu(bench.temporal, bench.postgres) }
    const transactions = async () => await committed(everpost.sql, [new URL(everpost.database).pathname.slice(1)])
    return await underLoad(bench, child, everpost.ports['smtp']!, load, cpu,
      async () => ({ transactions: await transactions(), ...(await temporalTransactions(bench.temporal, bench.postgres)) }))
  } finally {
    await everpost.end()
  }
}

async function withOther(bench: Bench, name: 'postfix' | 'exim', load: Load): Promise<Measured> {
  const child = startChild('load')
  const { sink } = await child.hello
  const server = await { postfix: startPostfix, exim: startExim }[name](sink!).catch((error) => {
    child.end()
    throw error
  })
  try {
    // What Exim's processes leave behind when they end, nobody waits for: it cannot be counted so.
    return await underLoad(bench, child, server.port, load, name === 'exim' ? {} : { [name]: () => cpuOf(server.pid) })
  } finally {
    await server.stop()
  }
}

/** Loads what listens at the port. */
async function underLoad(
  bench: Bench, child: Child, port: number, load: Load, cpu: Meters, counted?: () => Promise<Record<string, number>>,
): Promise<Measured> {
  return await watched(cpu, (measuring) => child.ask({ port, seconds: bench.seconds, ...load }, measuring), counted)
}

/** Sees what the work costs whom, from the moment at which its warm-up is over. */
async function watched(
  meters: Meters, work: (measuring: () => void) => Promise<Figures>, counted: () => Promise<Record<string, number>> = async () => ({}),
): Promise<Measured> {
  const used = () => Object.entries(meters).map(([name, read]) => [name, read()] as const)
  let before = used()
  let countedBefore = counted()
  const figures = await work(() => {
    before = used()
    countedBefore = counted()
  })
  const each = (total: number) => total / Math.max(1, figures.count)
  const cpu = Object.fromEntries(used().map(([name, ms], i) => [name, each(ms - before[i]![1])]))
  const [first, last] = [await countedBefore, await counted()]
  return { ...summary(figures), cpu, ...Object.fromEntries(Object.entries(last).map(([name, count]) => [name, each(count - first[name]!)])) }
}

async function committed(sql: Sql, databases: string[]): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select sum(xact_commit)::int8 as count from pg_stat_database where datname = any(${databases})`
  return Number(row!.count)
}

async function temporalTransactions(temporal: Temporal, { sql }: Bench['postgres']): Promise<Record<string, number>> {
  return temporal.onPostgres ? { temporalTransactions: await committed(sql, temporalDatabases) } : {}
}

/** Messages that are queued and due in a day. */
async function fillQueue(sql: Sql, messages: number): Promise<void> {
  await sql`
    insert into messages (id, kind, reverse_path, body_type, smtp_utf8, require_tls, size, origin, expires_at, started_at)
    select 'QUEUED' || lpad(i::text, 12, '0'), 'mail', 'a@sender.bench', '7BIT', false, false, 1000, '{}', now() + interval '5 days', now()
    from generate_series(1, ${messages}::int) i`
  await sql`
    insert into recipients (message_id, n, forward_path, domain, notify, next_attempt_at)
    select id, 0, 'r@waiting.bench', 'waiting.bench', '{}', now() + interval '1 day' from messages`
  // What the filling leaves to be done afterwards is no cost of a long queue.
  await sql`vacuum analyze messages, recipients`
  await sql`checkpoint`
}

/** A message to so many recipients at so many destinations, all of which are one sink. */
async function toMany(recipients: number, destinations: number): Promise<Measured> {
  const child = startChild('load')
  const { sink } = await child.hello
  const dns = await startDnsServer(Object.fromEntries(Array.from({ length: destinations }, (_, i) => [`d${i}.bench/MX`, [{ preference: 10, exchange: '127.0.0.1' }]])))
  const routes = Array.from({ length: destinations }, (_, i) => ({ domain: `d${i}.bench`, nextHop: destinations === 1 ? `[127.0.0.1]:${sink}` : `d${i}.bench:${sink}` }))
  const everpost = await prepareEverpost({ routes, dns: { servers: [dns.server] }, limits: { recipients } })
  try {
    await everpost.start()
    const begun = performance.now()
    const id = await everpost.send(Array.from({ length: recipients }, (_, i) => `r${i}@d${i % destinations}.bench`))
    const settled = () => everpost.sql`select from messages where id = ${id} and state = 'finished'`
    await until('all recipients are settled', async () => (await settled()).length > 0, 180_000)
    const seconds = (performance.now() - begun) / 1000
    const [row] = await everpost.sql<{ attempts: number }[]>`select count(*) as attempts from attempts where message_id = ${id}`
    return { seconds, attempts: row!.attempts }
  } finally {
    await everpost.end()
    await dns.close()
    child.end()
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
