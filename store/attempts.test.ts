import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Outcome } from '../mail/outcome.ts'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { until } from '../test/support/until.ts'
import { acceptMessage } from './accept.ts'
import { claimAttempt, markDot, readAttempts, recordAttempt, recordDelivered, releaseAttempt, renewLease, type Verdict } from './attempts.ts'
import { readMessage } from './messages.ts'
import { readProgress, readRecipients } from './recipients.ts'

const { sql, drop } = await testDatabase()
after(drop)

const retention = { delivered: 0, failed: 86_400_000 }
const outcome = (status: Outcome['status'], phase: Outcome['phase'] = 'dot'): Outcome => ({
  status, phase, enhanced: '2.0.0', reply: null, text: status, host: null, address: null, tls: null,
})
const result = (outcomes: Record<number, Outcome>) => ({ outcomes, tries: [], dotSent: true, destination: 'x.test' })
const verdict = (n: number, state: Verdict['state'], nextAttemptAt: Date | null = null): Verdict => ({
  n, state, outcome: outcome('delivered'), counts: true, ruled: { times: {}, since: {} }, givesUpAt: null, nextAttemptAt,
})

async function accepted(...recipients: string[]): Promise<string> {
  const message = newMessage(recipients)
  await acceptMessage(sql, message)
  return message.id
}

const claim = (id: string, recipients: number[], lease = 30_000, change: { route?: string | null } = {}) =>
  claimAttempt(sql, { id, nextHop: 'x.test', recipients, route: undefined, worker: 'w', lease, clock: new Date(0), trace: null, begunAt: new Date(), unclaimed: false, dot: null, ...change })
const trace = Buffer.from('Received: by x.test\r\n')
const claimAtDot = (id: string, recipients: number[]) =>
  claimAttempt(sql, { id, nextHop: 'x.test', recipients, route: null, worker: 'w', lease: 30_000, clock: new Date(0), trace, begunAt: new Date(Date.now() - 5000), unclaimed: true, dot: recipients })

test('a recipient is held by one attempt at a time', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  const first = await claim(id, [0, 1])
  assert.deepEqual(first?.recipients.map((r) => r.forwardPath), ['a@x.test', 'b@x.test'])
  assert.equal(await claim(id, [0, 1]), null)
  const progress = await readProgress(sql, id)
  assert.equal(progress.nextAt, null)
  assert.ok(progress.leasedUntil! > Date.now())
})

test('of many claims at once exactly one wins', async () => {
  const id = await accepted('a@x.test')
  const claims = await Promise.all(Array.from({ length: 10 }, () => claim(id, [0])))
  assert.equal(claims.filter((won) => won !== null).length, 1)
})

test('an attempt whose lease has lapsed is lost to the next, and may not send the dot', async () => {
  const id = await accepted('a@x.test')
  const stale = await claim(id, [0], 1)
  await sleep(20)
  const next = await claim(id, [0])
  assert.equal(next?.number, stale!.number + 1)
  assert.equal(await markDot(sql, id, stale!.number, [0], 30_000), false)
  assert.equal(await markDot(sql, id, next!.number, [0], 30_000), true)
  assert.deepEqual((await readAttempts(sql, id, 10)).map((a) => [a.lost, a.dotAt !== null]), [[true, false], [false, true]])
})

test('of many claims at the dot exactly one wins, with its mark and its trace; its attempt began when it says', async () => {
  const id = await accepted('a@x.test')
  const claims = await Promise.all(Array.from({ length: 10 }, () => claimAtDot(id, [0])))
  assert.equal(claims.filter((won) => won !== null).length, 1)
  const attempts = await readAttempts(sql, id, 20)
  assert.deepEqual(attempts.map(({ dotAt, lost }) => [dotAt !== null, lost]), [[true, false]])
  assert.ok(attempts[0]!.dotAt!.getTime() - attempts[0]!.begunAt.getTime() >= 4000)
  assert.deepEqual((await readMessage(sql, id))!.trace, trace)
})

test('no claim at the dot where it would send what is no longer wanted: another way, another trace, on hold, settled, not due', async () => {
  const changes = [
    (id: string) => sql`update recipients set route = '[127.0.0.9]' where message_id = ${id}`,
    (id: string) => sql`update messages set trace = 'Received: by y.test' where id = ${id}`,
    (id: string) => sql`update messages set held_at = now() where id = ${id}`,
    (id: string) => sql`update recipients set state = 'bounced' where message_id = ${id}`,
    (id: string) => sql`update recipients set next_attempt_at = now() + interval '1 hour' where message_id = ${id}`,
  ]
  for (const change of changes) {
    const id = await accepted('a@x.test')
    await change(id)
    assert.equal(await claimAtDot(id, [0]), null, String(change))
    assert.equal((await readAttempts(sql, id, 20)).length, 0)
  }
})

test('no claim by a plan from before an operator sent the recipients another way, and back; of others, and where none is told, there is', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  const reroute = (route: string | null) => sql`update recipients set route = ${route} where message_id = ${id} and n = 0`
  await reroute('[127.0.0.9]')
  assert.deepEqual((await claim(id, [0, 1], 1, { route: null }))!.recipients.map(({ n }) => n), [1])
  assert.equal(await claim(id, [0], 1, { route: '[127.0.0.8]' }), null)
  assert.notEqual(await claim(id, [0], 1, { route: '[127.0.0.9]' }), null)
  await reroute(null)
  await sleep(20)
  assert.equal(await claim(id, [0], 1, { route: '[127.0.0.9]' }), null)
  assert.notEqual(await claim(id, [0]), null)
})

test('the last delivery finishes the message', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  const one = (await claim(id, [0]))!
  const two = (await claim(id, [1]))!
  await Promise.all([
    recordAttempt(sql, id, one.number, result({ 0: outcome('delivered') }), [verdict(0, 'delivered')], retention),
    recordAttempt(sql, id, two.number, result({ 1: outcome('delivered') }), [verdict(1, 'delivered')], retention),
  ])
  const message = await readMessage(sql, id)
  assert.equal(message?.state, 'finished')
  assert.equal(message?.driveAt, null)
  assert.ok(message!.bodyReleaseAt!.getTime() <= Date.now() + 1000)
})

test('a deferred recipient is due at its time and the message is driven a little later', async () => {
  const id = await accepted('a@x.test')
  const held = (await claim(id, [0]))!
  const at = new Date(Date.now() + 60_000)
  const progress = await recordAttempt(sql, id, held.number, result({ 0: outcome('deferred') }), [verdict(0, 'queued', at)], retention)
  assert.equal(progress.nextAt, at.getTime())
  assert.equal(await claim(id, [0]), null)
  assert.notEqual(await claimAttempt(sql, { id, nextHop: 'x', recipients: [0], route: null, worker: 'w', lease: 1000, clock: at, trace: null, begunAt: at, unclaimed: false, dot: null }), null)
  assert.equal((await readMessage(sql, id))!.driveAt!.getTime(), at.getTime() + 120_000)
})

test('a stale attempt can still record a delivery, but no deferral', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  const stale = (await claim(id, [0, 1], 1))!
  await sleep(20)
  const next = (await claim(id, [0, 1]))!
  const verdicts = [verdict(0, 'delivered'), verdict(1, 'queued', new Date(Date.now() + 9e6))]
  await recordAttempt(sql, id, stale.number, result({ 0: outcome('delivered'), 1: outcome('deferred') }), verdicts, retention)
  const [a, b] = await readRecipients(sql, id, 10)
  assert.equal(a?.state, 'delivered')
  assert.ok(b!.nextAttemptAt.getTime() <= Date.now())
  assert.equal(await markDot(sql, id, next.number, [0, 1], 1000), false, 'one of the two has its mail already')
})

test('a stale attempt changes nothing of a sole recipient whom its successor holds', async () => {
  for (const state of ['bouncing', 'queued'] as const) {
    const id = await accepted('a@x.test')
    const stale = (await claim(id, [0], 1))!
    await sleep(20)
    const next = (await claim(id, [0]))!
    await recordAttempt(sql, id, stale.number, result({ 0: outcome('bounced') }), [verdict(0, state)], retention)
    const [recipient] = await readRecipients(sql, id, 1)
    assert.deepEqual([recipient!.state, recipient!.attempts, recipient!.outcome], ['queued', 0, null])
    assert.equal(await markDot(sql, id, next.number, [0], 30_000), true)
  }
})

test('attempts side by side for one message, each for recipients of its own, leave each other alone', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  const [one, two] = [(await claim(id, [0]))!, (await claim(id, [1]))!]
  assert.deepEqual([await markDot(sql, id, one.number, [0], 30_000), await markDot(sql, id, two.number, [1], 30_000)], [true, true])
  assert.deepEqual((await readAttempts(sql, id, 10)).map(({ lost, endedAt }) => [lost, endedAt]), [[false, null], [false, null]])
})

test('the lease is longer after the dot mark, and after a renewal', async () => {
  for (const prolong of [markDot, (...[, id, number, , lease]: Parameters<typeof markDot>) => renewLease(sql, id, number, lease)]) {
    const id = await accepted('a@x.test')
    const held = (await claim(id, [0], 5000))!
    assert.ok(await prolong(sql, id, held.number, [0], 60_000))
    assert.ok((await readRecipients(sql, id, 1))[0]!.leasedUntil!.getTime() > Date.now() + 30_000)
  }
})

test('a dot mark that is refused changes nothing: whoever the attempt still holds is free when its lease ends', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  const held = (await claim(id, [0, 1], 5000))!
  await sql`update recipients set attempt = null, leased_until = null where message_id = ${id} and n = 1`
  assert.equal(await markDot(sql, id, held.number, [0, 1], 60_000), false)
  assert.ok((await readRecipients(sql, id, 1))[0]!.leasedUntil!.getTime() < Date.now() + 30_000)
  assert.equal((await readAttempts(sql, id, 1))[0]!.dotAt, null)
})

test('a late yes is kept, whatever has become of the recipient meanwhile, and is never replayed', async () => {
  const id = await accepted('a@x.test')
  const held = (await claim(id, [0]))!
  await sql`update recipients set state = 'expired', settled_at = now(), dead_letter = true where message_id = ${id}`
  await recordAttempt(sql, id, held.number, result({ 0: outcome('delivered') }), [verdict(0, 'delivered')], retention)
  const [recipient] = await readRecipients(sql, id, 1)
  assert.deepEqual([recipient!.state, recipient!.deadLetter], ['delivered', false])
})

test('an attempt whose dot may have gone out is not released: it is lost when its lease ends', async () => {
  const id = await accepted('a@x.test')
  const held = (await claim(id, [0], 50))!
  await markDot(sql, id, held.number, [0], 50)
  await releaseAttempt(sql, id, held.number, [])
  assert.equal(await claim(id, [0]), null)
  await sleep(80)
  assert.notEqual(await claim(id, [0]), null)
  assert.deepEqual((await readAttempts(sql, id, 10)).map((a) => [a.lost, a.dotAt !== null]), [[true, true], [false, false]])
})

test('a mark without a dot is taken back when it is known that none was sent', async () => {
  const id = await accepted('a@x.test')
  const held = (await claim(id, [0]))!
  await markDot(sql, id, held.number, [0], 30_000)
  await releaseAttempt(sql, id, held.number, [], true)
  assert.notEqual(await claim(id, [0]), null)
  assert.deepEqual((await readAttempts(sql, id, 10)).map((a) => [a.lost, a.dotAt]), [[false, null], [false, null]])
})

test('a delivery is recorded in the order of locks that all keep to: the message, then its recipients', async () => {
  const id = await accepted('a@x.test')
  await claim(id, [0])
  let recording: Promise<void> | undefined
  let recorded = false
  await sql.begin(async (tx) => {
    await tx`select from messages where id = ${id} for no key update`
    recording = recordDelivered(sql, id, [verdict(0, 'delivered')], retention).then(() => { recorded = true })
    await until('it waits for the message', async () => (await sql`select from pg_stat_activity where wait_event_type = 'Lock' and query like '%for no key update%'`).length > 0)
    // Whoever has the message gets its recipients: were they locked already, the two would wait for each other.
    await tx`select from recipients where message_id = ${id} for update nowait`
    assert.equal(recorded, false)
  })
  await recording
  assert.equal((await readRecipients(sql, id, 1))[0]!.state, 'delivered')
})

test('a delivery recorded while the attempt goes on counts, though an operator has returned the mail meanwhile', async () => {
  const id = await accepted('a@x.test')
  await sql`update recipients set state = 'bouncing' where message_id = ${id}`
  await recordDelivered(sql, id, [verdict(0, 'delivered')], retention)
  assert.equal((await readRecipients(sql, id, 1))[0]!.state, 'delivered')
})

test('a released attempt leaves its recipients due', async () => {
  const id = await accepted('a@x.test')
  const held = (await claim(id, [0]))!
  await releaseAttempt(sql, id, held.number, [])
  assert.notEqual(await claim(id, [0]), null)
})

test('an attempt that has ended may not send the dot, though nobody else holds its recipients yet', async () => {
  const id = await accepted('a@x.test')
  const held = (await claim(id, [0]))!
  await releaseAttempt(sql, id, held.number, [])
  assert.equal(await markDot(sql, id, held.number, [0], 30_000), false)
})

test('recording an attempt again, since nobody saw the commit, counts once', async () => {
  const id = await accepted('a@x.test')
  const held = (await claim(id, [0]))!
  const record = () => recordAttempt(sql, id, held.number, result({ 0: outcome('deferred') }), [verdict(0, 'queued', new Date(Date.now() + 60_000))], retention)
  assert.deepEqual(await record(), await record())
  assert.equal((await readRecipients(sql, id, 1))[0]?.attempts, 1)
})

test('a delivery recorded while the attempt goes on survives its end, and its loss', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  const stale = await claim(id, [0, 1], 1)
  await recordDelivered(sql, id, [verdict(0, 'delivered')], retention)
  assert.equal((await readMessage(sql, id))!.state, 'queued')
  await sleep(20)
  const next = await claim(id, [0, 1])
  assert.deepEqual(next!.recipients.map(({ n }) => n), [1])
  await recordAttempt(sql, id, stale!.number, result({ 0: outcome('delivered'), 1: outcome('deferred') }), [verdict(0, 'delivered'), verdict(1, 'queued', new Date())], retention)
  assert.deepEqual((await readRecipients(sql, id, 10)).map(({ state, attempts }) => [state, attempts]), [['delivered', 1], ['queued', 0]])
  const progress = await recordAttempt(sql, id, next!.number, result({ 1: outcome('delivered') }), [verdict(1, 'delivered')], retention)
  assert.equal(progress.queued, 0)
  assert.equal((await readMessage(sql, id))!.state, 'finished')

  // Of the last of them: where nothing is left to go on with, the message is finished though its attempt never ends.
  const last = await accepted('a@x.test')
  await claim(last, [0])
  await recordDelivered(sql, last, [verdict(0, 'delivered')], retention)
  assert.equal((await readMessage(sql, last))!.state, 'finished')
})
