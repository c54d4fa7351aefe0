import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ControlAction, ControlRequest } from '../mail/control.ts'
import { UnknownMessage } from '../mail/unknown-message.ts'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { acceptMessage } from './accept.ts'
import { claimAttempt, markDot, readAttempts, recordAttempt, renewLease } from './attempts.ts'
import { controlMessage } from './control.ts'
import type { Sql } from './database.ts'
import { dueRecipients, readProgress, readRecipients } from './recipients.ts'
import { settleReports } from './reports.ts'

const { sql, drop } = await testDatabase()
after(drop)

const retention = { delivered: 0, failed: 1000 }
const lease = 60_000

async function accepted(...recipients: string[]): Promise<string> {
  const message = newMessage(recipients)
  await acceptMessage(sql, message)
  return message.id
}

const claim = (id: string, recipients: number[], leased = lease, dot: number[] | null = null) =>
  claimAttempt(sql, { id, nextHop: 'x', recipients, route: null, worker: 'w', lease: leased, clock: new Date(), trace: null, begunAt: new Date(), unclaimed: false, dot })
async function ask(id: string, action: ControlAction, more: Partial<ControlRequest> = {}, update: string = randomUUID()) {
  const done = await controlMessage(sql, id, { action, who: 'test', why: '', ...more }, update, retention)
  return 'refused' in done ? done : done.result
}

/** As the workflow does, once it has looked. */
async function settle(id: string): Promise<number> {
  const told: number[] = []
  await settleReports(sql, {
    id, expire: false, delayed: false, at: new Date(), retention, isDeadLetter: () => true, make: (_, recipients) => {
      told.push(...recipients.map(({ n }) => n))
      return []
    },
  })
  return told.length
}

test('an attempt that has not sent its final dot may not send it after a hold, and a new one cannot begin', async () => {
  const id = await accepted('a@x.test')
  const attempt = (await claim(id, [0]))!
  assert.deepEqual(await ask(id, 'hold'), { changed: ['a@x.test'], count: 1, busy: [] })
  assert.equal(await markDot(sql, id, attempt.number, [0], lease), false)
  assert.equal(await claim(id, [0]), null)
  assert.equal((await dueRecipients(sql, id, new Date(), [], 9)).length, 0)
  const progress = await readProgress(sql, id)
  assert.equal(progress.nextAt, null)
  assert.ok(progress.expiresAt > Date.now() + 10 * 365 * 86_400_000)
  await ask(id, 'release')
  assert.equal((await claim(id, [0]))!.number, 2)
})

test('whoever the final dot was sent for is left alone: only the reply can tell', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  const attempt = (await claim(id, [0]))!
  assert.equal(await markDot(sql, id, attempt.number, [0], lease), true)
  assert.deepEqual(await ask(id, 'drop'), { changed: ['b@x.test'], count: 1, busy: ['a@x.test'] })
  const again = await ask(id, 'bounce')
  assert.match((again as { refused: string }).refused, /awaited for a@x\.test; look again later/)
  assert.deepEqual((await readRecipients(sql, id, 9)).map((r) => r.state), ['queued', 'bouncing'])
})

test('an attempt that makes several dots makes none after a hold; who is at it is left alone, and the reply counts', async () => {
  for (const atDot of [[0], null]) {
    const id = await accepted('a@x.test', 'b@x.test', 'c@x.test')
    const attempt = (await claim(id, [0, 1, 2], lease, atDot))!
    assert.equal(await markDot(sql, id, attempt.number, [0], lease), true)
    assert.equal(await renewLease(sql, id, attempt.number, lease), 3)
    assert.deepEqual(await ask(id, 'hold'), { changed: ['a@x.test', 'b@x.test', 'c@x.test'], count: 3, busy: ['a@x.test'] })
    assert.equal(await markDot(sql, id, attempt.number, [1], lease), false)
    assert.equal(await renewLease(sql, id, attempt.number, lease), 1, 'it is told')
    await ask(id, 'bounce', { recipients: [1] })
    await ask(id, 'release')
    // Another attempt with one of those does not end this one, which waits for its reply.
    const next = (await claim(id, [0, 2]))!
    assert.deepEqual(next.recipients.map(({ n }) => n), [2])
    const bounced = { status: 'bounced', phase: 'dot', enhanced: '5.7.1', reply: null, text: 'spam', host: null, address: null, tls: null } as const
    const deferred = { ...bounced, status: 'deferred', phase: 'policy', enhanced: '4.4.2', text: 'broken off' } as const
    const verdict = { counts: true, ruled: { times: {}, since: {} }, givesUpAt: null }
    await recordAttempt(sql, id, attempt.number, { outcomes: { 0: bounced, 1: deferred, 2: deferred }, tries: [], dotSent: true, destination: 'x' }, [
      { ...verdict, n: 0, state: 'bouncing', outcome: bounced, nextAttemptAt: null },
      ...[1, 2].map((n) => ({ ...verdict, n, state: 'queued', outcome: deferred, nextAttemptAt: new Date(Date.now() + 60_000) }) as const),
    ], retention)
    assert.deepEqual((await readRecipients(sql, id, 9)).map(({ state, outcome }) => [state, outcome?.text]), [['bouncing', 'spam'], ['bouncing', 'returned by the operator'], ['queued', undefined]])
    assert.deepEqual((await readAttempts(sql, id, 9)).map(({ lost, endedAt }) => [lost, endedAt !== null]), [[false, true], [false, false]])
    assert.equal(await markDot(sql, id, next.number, [2], lease), true)
  }
})

test('a dot that an older program has marked stands for its whole attempt', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  const attempt = (await claim(id, [0, 1]))!
  await sql`update attempts set dot_at = now() where message_id = ${id} and number = ${attempt.number}`
  assert.match(((await ask(id, 'drop')) as { refused: string }).refused, /awaited for a@x\.test, b@x\.test/)
})

test('an attempt that lives though its lease has lapsed is broken off, too: no dot on hold, and no deferral undoes a bounce', async () => {
  const held = await accepted('a@x.test')
  const stale = (await claim(held, [0], 1))!
  await sleep(20)
  await ask(held, 'hold')
  assert.equal(await markDot(sql, held, stale.number, [0], lease), false)

  const bounced = await accepted('a@x.test')
  const late = (await claim(bounced, [0], 1))!
  await sleep(20)
  await ask(bounced, 'bounce')
  const outcome = { status: 'deferred', phase: 'policy', enhanced: '4.4.2', reply: null, text: 'overtaken', host: null, address: null, tls: null } as const
  const verdict = { n: 0, state: 'queued', outcome, counts: false, ruled: { times: {}, since: {} }, givesUpAt: null, nextAttemptAt: new Date() } as const
  await recordAttempt(sql, bounced, late.number, { outcomes: { 0: outcome }, tries: [], dotSent: false, destination: 'x' }, [verdict], retention)
  assert.equal((await readRecipients(sql, bounced, 1))[0]!.state, 'bouncing')
})

test('what an operator asked is driven on within seconds, should nobody wake its workflow', async () => {
  for (const action of ['expire', 'retry', 'bounce', 'drop'] as const) {
    const id = await accepted('a@x.test')
    await ask(id, action)
    const [row] = await sql<{ soon: boolean }[]>`select drive_at <= now() + interval '5 seconds' as soon from messages where id = ${id}`
    assert.equal(row!.soon, true, action)
  }
})

test('a bounce waits for a dot that is being marked, and then leaves it alone', async () => {
  const id = await accepted('a@x.test')
  const attempt = (await claim(id, [0]))!
  const bounced = await sql.begin(async (tx) => {
    assert.equal(await markDot(tx as unknown as Sql, id, attempt.number, [0], lease), true)
    const asked = ask(id, 'bounce')
    const first = await Promise.race([asked, sleep(300, 'it waits')])
    assert.equal(first, 'it waits')
    // In an object, since a promise returned would be waited for before the commit.
    return { asked }
  })
  assert.match((await bounced.asked as { refused: string }).refused, /awaited for a@x\.test/)
  assert.equal((await readRecipients(sql, id, 1))[0]!.state, 'queued')
})

test('who expires on hold is reported all the same; a shorter lifetime brings the last attempt forward', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  await ask(id, 'hold')
  await ask(id, 'expire', { recipients: [0] })
  const { heldAt, unreported } = await readProgress(sql, id)
  assert.deepEqual([heldAt !== null, unreported], [true, 1], 'who is left stays on hold')
  await ask(id, 'expire')
  assert.equal(await settle(id), 2)
  assert.deepEqual((await readRecipients(sql, id, 9)).map(({ state }) => state), ['expired', 'expired'])
  assert.equal((await sql<{ open: boolean }[]>`select state = 'queued' or held_at is not null as open from messages where id = ${id}`)[0]!.open, false)
  const other = await accepted('a@x.test')
  await sql`update recipients set next_attempt_at = now() + interval '10 hours' where message_id = ${other}`
  await ask(other, 'set-lifetime', { lifetime: 7_200_000 })
  const progress = await readProgress(sql, other)
  assert.equal(progress.nextAt, progress.expiresAt)
})

test('whoever is dropped fails in silence, is no dead letter, and reports on others do not speak of them', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  await ask(id, 'drop', { recipients: [0] })
  await ask(id, 'expire', { recipients: [1] })
  assert.equal(await settle(id), 1)
  assert.deepEqual((await readRecipients(sql, id, 9)).map(({ state, deadLetter, outcome }) => [state, deadLetter, outcome!.text]), [
    ['bounced', false, 'dropped by the operator'], ['expired', true, 'no attempt could be made']])
})

test('an attempt that died is lost in the records, too, where none comes after it: its mail was given up', async () => {
  for (const dot of [[0], null]) {
    const id = await accepted('a@x.test', 'b@x.test')
    await claim(id, [0], 1, dot)
    await sleep(20)
    await ask(id, 'drop', { recipients: [0] })
    await settle(id)
    assert.deepEqual((await readAttempts(sql, id, 9)).map(({ endedAt }) => endedAt), [null], 'its message goes on')
    const alive = (await claim(id, [1]))!
    await ask(id, 'drop')
    await settle(id)
    assert.deepEqual((await readAttempts(sql, id, 9)).map(({ lost, endedAt, dotAt }) => [lost, endedAt !== null, dotAt !== null]), [[true, true, dot !== null], [true, true, false]])
    // Of one that lives after all, what it says counts.
    const late = { status: 'delivered', phase: 'dot', enhanced: '2.0.0', reply: null, text: 'taken', host: null, address: null, tls: null } as const
    await recordAttempt(sql, id, alive.number, { outcomes: { 1: late }, tries: [], dotSent: true, destination: 'x' },
      [{ n: 1, state: 'delivered', outcome: late, counts: true, ruled: { times: {}, since: {} }, givesUpAt: null, nextAttemptAt: null }], retention)
    assert.deepEqual((await readAttempts(sql, id, 9)).map(({ lost }) => lost), [true, false])
  }
})

test('asked under one name it is done once, and answered alike: the activity may run twice', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  const first = await ask(id, 'drop', {}, 'one')
  assert.deepEqual(await ask(id, 'drop', {}, 'one'), first)
  assert.match(((await ask(id, 'drop', {}, 'two')) as { refused: string }).refused, /a report is being sent/)
  assert.equal((await sql`select from actions where message_id = ${id}`).length, 1)
})

test('what is wrong is refused in words, and changes nothing', async () => {
  const id = await accepted('a@x.test')
  for (const [action, words, more] of [
    ['release', /not on hold/, {}], ['retry', /none of its recipients named waits/, { recipients: [7] }],
  ] as const) {
    assert.match(((await ask(id, action, { ...more, recipients: 'recipients' in more ? [...more.recipients] : null })) as { refused: string }).refused, words)
  }
  const underWay = await accepted('a@x.test')
  await claim(underWay, [0])
  assert.match(((await ask(underWay, 'retry')) as { refused: string }).refused, /none of its recipients waits: .*an attempt is under way/)
  await assert.rejects(ask('000000000000000000', 'hold'), UnknownMessage)
  await ask(id, 'drop')
  await settle(id)
  assert.match(((await ask(id, 'hold')) as { refused: string }).refused, /finished/)
  assert.equal((await sql`select from actions where message_id = ${id}`).length, 1)
})
