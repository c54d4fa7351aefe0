import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import type { Outcome } from '../mail/outcome.ts'
import { settingsSchema } from '../settings/schema.ts'
import { acceptMessage } from '../store/accept.ts'
import { summariseDestinations } from '../store/destination-traffic.ts'
import { limitDestination, openCircuit, readDestinations, resumeDestination, suspendDestination } from '../store/destinations.ts'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { until } from '../test/support/until.ts'
import { type Destinations, keepDestinations } from './destinations.ts'
import type { Pass, Refusal } from './types.ts'

const { sql, drop } = await testDatabase()
const started: Destinations[] = []
after(async () => {
  await Promise.all(started.map((worker) => worker.stop()))
  await drop()
})
const settings = settingsSchema.parse({ destinations: { circuitFailures: 5, circuitPause: '1h', circuitMaximalPause: '1h' } })
const probeTime = 6000

interface Mill {
  /** One attempt, which passes. */
  pass(id: string, name: string): Promise<Pass>
  /** Why there is none; null when there is. */
  refused(name: string): Promise<string | null>
  stop(): Promise<void>
}

/** What a worker process has of destinations; the attempts are the test's. */
function startMill(worker: string, through = sql): Mill {
  const destinations = keepDestinations({ sql: through, settings, log: pino({ level: 'silent' }), worker, probeTime })
  started.push(destinations)
  const enter = async (id: string, name: string) => (await destinations.gate.enter({ id, destination: name, nextHop: name, network: true }, AbortSignal.timeout(60_000))) as Pass | Refusal
  return {
    async pass(id, name) {
      return await until(`${worker} may make an attempt`, async () => {
        const entered = await enter(id, name)
        return entered.kind === 'pass' && entered
      })
    },
    async refused(name) {
      const entered = await enter('x', name)
      if (entered.kind === 'refused') return entered.why
      entered.leave(null)
      return null
    },
    stop: destinations.stop,
  }
}

const broke: Outcome[] = [{ status: 'deferred', phase: 'greeting', enhanced: '4.4.2', reply: null, text: 'no greeting', host: null, address: null, tls: null }]
const taken: Outcome[] = [{ ...broke[0]!, status: 'delivered', phase: 'dot', text: '250 taken' }]

async function fail(mill: Mill, name: string, ...ids: string[]): Promise<void> {
  for (const id of ids) (await mill.pass(id, name)).leave(broke)
}

const open = async (name: string) => (await readDestinations(sql, name)).some(({ circuitUntil }) => circuitUntil)

async function allRefused(mills: Mill[], name: string, why: RegExp): Promise<void> {
  for (const mill of mills) await until(`one of all is refused: ${why}`, async () => why.test((await mill.refused(name)) ?? ''))
}

/** All that failed at a destination was before: no worker opens its circuit until as many have failed again. */
async function countsAnew(mill: Mill, name: string): Promise<void> {
  await until('it may go on', async () => (await mill.refused(name)) === null)
  await fail(mill, name, 'n1', 'n2', 'n3', 'n4')
  await sleep(1000)
  assert.equal(await open(name), false)
  await fail(mill, name, 'n5')
  await until('the circuit opens', () => open(name))
}

test('a probe that lasts longer than a claim stays the only one; without a verdict the next goes, and that of a dead worker lapses', async () => {
  const [name, a, b] = ['pit.test', startMill('a'), startMill('b')]
  await openCircuit(sql, name, { first: 3_600_000, most: 3_600_000 }, 'closed for now')
  await allRefused([a, b], name, /it is probed from/)
  await sql`update destinations set circuit_until = now() - interval '1 second' where name = ${name}`
  const probe = await a.pass('probe', name)
  await allRefused([b], name, /another attempt probes it/)
  for (const end = Date.now() + 2 * probeTime; Date.now() < end; await sleep(200)) {
    for (const mill of [a, b]) assert.match(String(await mill.refused(name)), /another attempt probes it/)
  }
  probe.leave(null)
  await b.pass('next', name)
  await allRefused([a], name, /another attempt probes it/)
  await b.stop()
  await a.pass('third', name)
})

test('a circuit that is closed by hand stays closed in every worker until as many messages fail again, whatever a probe from before finds', async () => {
  const [name, a, b] = ['back.test', startMill('a'), startMill('b')]
  await fail(b, name, 'b1', 'b2', 'b3', 'b4')
  await fail(a, name, 'a1', 'a2', 'a3', 'a4', 'a5')
  await allRefused([a, b], name, /it is probed from/)
  await resumeDestination(sql, name, 'ada')
  await countsAnew(b, name)

  await allRefused([a, b], name, /it is probed from/)
  await sql`update destinations set circuit_until = now() - interval '1 second' where name = ${name}`
  const probe = await a.pass('probe', name)
  await resumeDestination(sql, name, 'ada')
  await until('the worker that probes knows', async () => (await a.refused(name)) === null)
  probe.leave(broke)
  await sleep(1000)
  assert.equal(await open(name), false)
})

test('a circuit that a probe of one worker closes is closed for the others as well', async () => {
  const [name, a, b] = ['well.test', startMill('a'), startMill('b')]
  await fail(b, name, 'b1', 'b2', 'b3', 'b4')
  await fail(a, name, 'a1', 'a2', 'a3', 'a4', 'a5')
  await allRefused([a, b], name, /it is probed from/)
  await sql`update destinations set circuit_until = now() - interval '1 second' where name = ${name}`
  ;(await a.pass('probe', name)).leave([{ ...broke[0]!, status: 'delivered', phase: 'dot' }])
  await until('it is closed', async () => !(await open(name)))
  await countsAnew(b, name)
})

test('what failed before a suspension that is ended by hand counts no more', async () => {
  const [name, a] = ['moved.test', startMill('a')]
  await fail(a, name, 'a1', 'a2', 'a3', 'a4')
  await suspendDestination(sql, name, 3_600_000, 'ada', 'they move')
  await allRefused([a], name, /is suspended until/)
  await resumeDestination(sql, name, 'ada')
  await countsAnew(a, name)
})

test('what a resume that died half-way has not called back is called back by a worker', async () => {
  const name = 'half.test'
  const message = newMessage([`a@${name}`])
  await acceptMessage(sql, message)
  await sql`update recipients set destination = ${name}, waits = 'suspended', next_attempt_at = now() + interval '5 hours' where message_id = ${message.id}`
  await suspendDestination(sql, name, 5 * 3_600_000, 'ada', '')
  const left = async () => (await sql`select from recipients where message_id = ${message.id} and next_attempt_at > now() + interval '1 minute'`).length
  const first = startMill('a')
  await allRefused([first], name, /is suspended until/)
  await first.stop()
  assert.equal(await left(), 1)
  await resumeDestination(sql, name, 'ada')
  startMill('b')
  await until('it is called back', async () => (await left()) === 0)
})

test('changes that come together, and seconds in which Postgres is silent, cost a look or two', async () => {
  let [looks, silent] = [0, Promise.resolve()]
  const counting = new Proxy(sql, {
    apply(_target, _self, [strings, ...values]: [TemplateStringsArray, ...never[]]) {
      const query = () => sql(strings, ...values)
      if (!strings.raw?.some((part) => part.includes('from destinations where'))) return query()
      looks++
      return silent.then(query)
    },
  })
  const mill = startMill('a', counting)
  await until('it has looked', () => looks > 1)
  let speak = () => {}
  silent = new Promise((resolve) => { speak = resolve })
  const before = looks
  await until('a look is under way', () => looks > before)
  for (let i = 0; i < 100; i++) await sql`select pg_notify('everpost_destinations', ${`${i}.test`})`
  await sleep(3000)
  const meanwhile = looks - before
  silent = Promise.resolve()
  const spoken = Date.now()
  speak()
  assert.equal(meanwhile, 1)
  await sleep(500)
  // Those of the seconds that have gone by since are of their own.
  assert.ok(looks - before <= 3 + (Date.now() - spoken) / 1000, `${looks - before} looks`)
  await mill.stop()
})

test('while Postgres does not take the figures, a worker keeps its part of a limit; the figures come when it does', async () => {
  const name = 'figures.test'
  await limitDestination(sql, name, { concurrency: 2 })
  const mill = startMill('figures')
  const held = await mill.pass('held', name)
  await sql`alter table destination_traffic rename to elsewhere`
  try {
    ;(await mill.pass('m', name)).leave(taken)
    const [{ later }] = await sql<[{ later: Date }]>`select now() + interval '2500 milliseconds' as later`
    await until('its row is renewed all the same', async () =>
      (await sql`select from destination_shares where destination = ${name} and worker = 'figures' and renewed_at > ${later}`).length > 0)
  } finally {
    await sql`alter table elsewhere rename to destination_traffic`
  }
  await until('the figures are there', async () => (await summariseDestinations(sql, name))[0]?.delivered === 1)
  held.leave(null)
})
