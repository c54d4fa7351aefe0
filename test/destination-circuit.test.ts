import assert from 'node:assert/strict'
import { userInfo } from 'node:os'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../dev/ports.ts'
import { startPeer } from '../smtp/testing.ts'
import type { Sql } from '../store/database.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('a destination that fails for many messages opens its circuit: one probe at a time at growing pauses, the rest wait and come once it answers', async () => {
  const [port, failing] = [await freePort(), { greeting: '421 4.3.2 closed for now' } as { greeting?: string }]
  const peer = await startPeer(failing, '127.0.0.1', port)
  const other = await startPeer()
  const name = `[127.0.0.1]:${port}`
  const everpost = await prepareEverpost({
    routes: [{ domain: 'partner.test', nextHop: name }, { domain: 'other.test', nextHop: `[127.0.0.1]:${other.port}` }],
    retry: { minimalBackoffTime: '200ms', maximalBackoffTime: '300ms' },
    destinations: { circuitFailures: 3, circuitPause: '500ms', circuitMaximalPause: '4s', resumeOver: '300ms' },
  })
  try {
    await everpost.start()
    await everpost.start('worker')
    await logCircuit(everpost.sql)
    const ids = await Promise.all(Array.from({ length: 12 }, (_, i) => everpost.send(`x${i}@partner.test`)))
    const row = async () => (await everpost.sql<{ step: number; open: boolean }[]>`
      select circuit_step as step, circuit_until is not null as open from destinations where name = ${name}`)[0]
    await until('the circuit is open', async () => (await row())?.open)
    // But for the one that probes, and one that has just probed.
    const waiting = async () => (await Promise.all(ids.map((id) => readRecipients(everpost.sql, id, 1)))).filter(([recipient]) => recipient!.waits).length
    await until('the others wait', async () => (await waiting()) >= ids.length - 2)
    await until('five probes have failed', async () => (await row())!.step >= 6, 120_000)
    const log = await readCircuit(everpost.sql)
    assert.deepEqual(log.slice(0, 6), [[1, 500], [2, 1000], [3, 2000], [4, 4000], [5, 4000], [6, 4000]])
    // What was under way when it opened came before the first probe had failed; each attempt since then was a probe that ended a pause.
    assert.deepEqual(await attemptsBetween(everpost.sql, 2, 6), Array(4).fill(1))
    assert.deepEqual(await everpost.states(await everpost.send('a@other.test')), ['delivered'])
    assert.match((await everpost.command('destination', 'show', name)).stdout, /circuit open[\s\S]*Circuit {5}open since .* closed for now/)

    // A probe that gets no answer: the pause is over, most of the mail comes, and none of it is let through beside it.
    failing.greeting = 'silent'
    const { connections } = peer
    await until('a probe hangs', () => peer.connections > connections)
    const refused = async () => (await everpost.sql`select from recipients where waits like '%another attempt probes it'`).length
    await until('others were refused for its sake', async () => (await refused()) >= 4)
    await sleep(2000)
    assert.equal(peer.connections - connections, 1)

    delete failing.greeting
    peer.each('220 peer.test ESMTP')
    for (const id of ids) assert.deepEqual(await everpost.states(id), ['delivered'])
    await until('the circuit is closed', async () => !(await row())!.open)
  } finally {
    await everpost.end()
    await Promise.all([peer.close(), other.close()])
  }
})

test('an open circuit is closed by hand: who did it is kept, and what waits comes without a probe', async () => {
  const failing: { greeting?: string } = { greeting: '421 4.3.2 closed for now' }
  const peer = await startPeer(failing)
  const name = `[127.0.0.1]:${peer.port}`
  const everpost = await prepareEverpost({
    routes: [{ domain: 'partner.test', nextHop: name }], retry: { minimalBackoffTime: '200ms', maximalBackoffTime: '300ms' },
    destinations: { circuitFailures: 3, circuitPause: '1h', circuitMaximalPause: '1h', resumeOver: '300ms' },
  })
  try {
    await everpost.start()
    await everpost.start('worker')
    const ids = await Promise.all(Array.from({ length: 6 }, (_, i) => everpost.send(`x${i}@partner.test`)))
    const circuit = async () => JSON.parse((await everpost.command('destination', 'list', '--json')).stdout).find((each: { name: string }) => each.name === name)
    await until('all wait for the circuit', async () => {
      const found = await circuit() // none until somebody has said something
      return found?.state === 'circuit open' && found.waiting === ids.length
    })
    delete failing.greeting
    assert.match((await everpost.command('destination', 'resume', name)).stdout, /is resumed: 6 messages that waited come within/)
    for (const id of ids) assert.deepEqual(await everpost.states(id), ['delivered'])
    const { state, control } = await circuit()
    assert.deepEqual([state, control.suspendedBy, control.circuitWhy], ['ok', userInfo().username, ''])
    const { code, stderr } = await everpost.command('destination', 'resume', name)
    assert.deepEqual([code, /is not suspended, nor is its circuit open/.test(stderr)], [1, true])
  } finally {
    await everpost.end()
    await peer.close()
  }
})

/** Keeps each opening of a circuit, as Postgres saw it: a look now and then could miss one. */
async function logCircuit(sql: Sql): Promise<void> {
  await sql.unsafe(`
    create table circuit_log (step int primary key, pause int, at timestamptz);
    create function log_circuit() returns trigger language plpgsql as $$ begin
      insert into circuit_log values (new.circuit_step, round(extract(epoch from new.circuit_until - now()) * 1000), now()) on conflict do nothing;
      return null;
    end $$;
    create trigger log_circuit after insert or update of circuit_step on destinations for each row when (new.circuit_step > 0) execute function log_circuit()`)
}

/** Steps and pauses in milliseconds. */
async function readCircuit(sql: Sql): Promise<[number, number][]> {
  return (await sql<{ step: number; pause: number }[]>`select step, pause from circuit_log order by step`).map(({ step, pause }) => [step, pause])
}

/** How many attempts for partner.test began between each step and the next, of these. */
async function attemptsBetween(sql: Sql, first: number, last: number): Promise<number[]> {
  const rows = await sql<{ count: number }[]>`
    select (select count(*)::int from attempts a where a.begun_at > l.at and a.begun_at <= next.at and a.next_hop in (select name from destinations)) as count
    from circuit_log l join circuit_log next on next.step = l.step + 1
    where l.step between ${first} and ${last} - 1 order by l.step`
  return rows.map(({ count }) => count)
}
