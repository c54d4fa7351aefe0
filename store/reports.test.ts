import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { UnknownMessage } from '../mail/unknown-message.ts'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { acceptMessage } from './accept.ts'
import { claimAttempt, markDot } from './attempts.ts'
import { readBody, releaseBodies } from './bodies.ts'
import type { Sql } from './database.ts'
import { putOffRecipients } from './destinations.ts'
import { readMessage, stampMessage } from './messages.ts'
import { listQueue } from './queue.ts'
import { readRecipients } from './recipients.ts'
import { findFailed, replayMessage } from './replay.ts'
import { type NewReport, type ReportRequest, settleReports } from './reports.ts'

const { sql, drop } = await testDatabase()
after(drop)

const retention = { delivered: 0, failed: 86_400_000 }

async function accepted(...recipients: string[]): Promise<string> {
  const message = newMessage(recipients)
  await acceptMessage(sql, message)
  return message.id
}

const request = (id: string, change: Partial<ReportRequest> = {}): ReportRequest => ({
  id, expire: false, delayed: false, retention, make: () => [], at: new Date(Date.now() + 86_400_000), isDeadLetter: () => true, ...change,
})

function report(change: Parameters<typeof newMessage>[1] = {}, whole = false, extra = 0): NewReport {
  const message = newMessage(['sender@example.test'], { kind: 'dsn', ...change })
  const [head, tail] = [Buffer.from('head\r\n'), Buffer.from('tail\r\n')]
  return { message: { ...message, size: head.length + tail.length + extra }, head, tail, whole, recipients: [0], toPostmaster: false }
}

test('settling commits the report in the same transaction', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  await sql`update recipients set state = 'bouncing' where message_id = ${id} and n = 0`
  const dsn = report({ parent: id })
  const settled = await settleReports(sql, request(id, { make: () => [dsn] }))
  assert.deepEqual([settled.reports, settled.settled], [[{ event: 'failed', recipients: 1, dsn: dsn.message.id }], []])
  assert.deepEqual((await readRecipients(sql, id, 9)).map((r) => [r.state, r.deadLetter]), [['bounced', false], ['queued', false]])
  assert.equal((await readMessage(sql, dsn.message.id))?.parent, id)
})

test('a report that cannot be stored settles nobody', async () => {
  const id = await accepted('a@x.test')
  await sql`update recipients set state = 'bouncing' where message_id = ${id}`
  await assert.rejects(settleReports(sql, request(id, { make: () => [report({ id })] })))
  assert.equal((await readRecipients(sql, id, 1))[0]?.state, 'bouncing')
})

test('what nobody can be told of is a dead letter, and can be replayed; the body stays', async () => {
  const id = await accepted('a@x.test', 'b@y.test')
  await settleReports(sql, request(id, { expire: true }))
  const message = (await readMessage(sql, id))!
  assert.deepEqual([message.state, message.bodyReleaseAt! > new Date(Date.now() + retention.failed / 2)], ['finished', true])
  assert.deepEqual((await findFailed(sql, { domain: 'y.test' }, { id }))[0]?.recipients, ['b@y.test'])
  const replayed = await replayMessage(sql, { id, domain: 'y.test', who: 'test', why: '', lifetime: 1000, retention })
  assert.deepEqual(replayed, ['b@y.test'])
  assert.deepEqual((await readRecipients(sql, id, 9)).map((r) => [r.state, r.deadLetter]), [['expired', true], ['queued', false]])
  const again = await replayMessage(sql, { id, domain: 'y.test', who: 'test', why: '', lifetime: 1000, retention })
  assert.deepEqual(again, [])
  assert.ok((await listQueue(sql, { limit: 10 })).some((row) => row.id === id && row.waiting === 1))
})

test('a released body cannot be replayed', async () => {
  const id = await accepted('a@x.test')
  await settleReports(sql, request(id, { expire: true, retention: { delivered: 0, failed: 0 } }))
  await releaseBodies(sql, 1000)
  assert.equal((await findFailed(sql, {}, { id }))[0]?.released, true)
  assert.deepEqual(await replayMessage(sql, { id, who: 'test', why: '', lifetime: 1000, retention }), [])
  await assert.rejects(readBody(sql, id, 24).next(), /ends after 0 of 24 octets/)
})

test('what expires is not delayed as well; what was delivered keeps its time; who is spoken of comes in the order of the envelope', async () => {
  const id = await accepted('a@x.test', 'b@x.test', 'c@x.test')
  await sql`update recipients set state = 'notifying', settled_at = '2001-01-01' where message_id = ${id} and n = 2`
  for (const n of [1, 0]) await sql`update recipients set waits = 'x' where message_id = ${id} and n = ${n}`
  const told: [string, number[]][] = []
  await settleReports(sql, request(id, { expire: true, delayed: true, make: (event, rows) => {
    told.push([event, rows.map(({ n }) => n)])
    return []
  } }))
  assert.deepEqual(told, [['failed', [0, 1]], ['succeeded', [2]]])
  assert.deepEqual((await readRecipients(sql, id, 9)).map((r) => [r.state, r.settledAt!.getFullYear() === 2001]), [['expired', false], ['expired', false], ['delivered', true]])
  assert.equal((await readMessage(sql, id))!.delayReportedAt, null)
  await assert.rejects(settleReports(sql, request('000000000000000000')), UnknownMessage)
})

test('a lifetime that is over by the clock of Postgres is over, whatever the workflow thinks; an attempt under way is waited for', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  await sql`update messages set expires_at = now() - interval '1 second' where id = ${id}`
  await sql`update recipients set leased_until = now() + interval '1 minute' where message_id = ${id} and n = 0`
  await settleReports(sql, request(id, { expire: true, at: new Date(0) }))
  assert.deepEqual((await readRecipients(sql, id, 9)).map((r) => r.state), ['queued', 'expired'])
})

test('one report for each event; the delay report is made once; successes become deliveries with their report', async () => {
  const id = await accepted('gone@x.test', 'done@x.test', 'later@x.test')
  await sql`update recipients set state = case n when 0 then 'bouncing' when 1 then 'notifying' else state end where message_id = ${id}`
  // An attempt is under way.
  await sql`update recipients set leased_until = now() + interval '1 minute' where message_id = ${id} and n = 2`
  const make: ReportRequest['make'] = () => [report()]
  const first = await settleReports(sql, request(id, { delayed: true, make }))
  assert.deepEqual(first.reports.map((each) => [each.event, each.recipients]), [['failed', 1], ['delayed', 1], ['succeeded', 1]])
  assert.deepEqual((await readRecipients(sql, id, 9)).map((r) => r.state), ['bounced', 'delivered', 'queued'])
  const second = await settleReports(sql, request(id, { delayed: true, make }))
  assert.deepEqual([second.reports, second.progress.queued], [[], 1])
})

test('a message returned in full is copied inside the database, octet for octet, and only with its report', async () => {
  const id = await accepted('gone@x.test')
  await sql`update recipients set state = 'bouncing' where message_id = ${id}`
  const { size } = (await readMessage(sql, id))!
  const whole = report({}, true, size)
  await settleReports(sql, request(id, { make: () => [whole] }))
  const octets: Uint8Array[] = []
  for await (const chunk of readBody(sql, whole.message.id, whole.message.size)) octets.push(chunk)
  assert.equal(Buffer.concat(octets).toString(), 'head\r\nSubject: test\r\n\r\nHello.\r\ntail\r\n')
  assert.equal((await sql`select from uploads where id = ${whole.message.id}`).length, 0)
})

test('a worker that wakes up while its recipient expires may not send the dot: nobody gets the message and its report', async () => {
  const id = await accepted('a@x.test')
  const attempt = (await claimAttempt(sql, {
    id, nextHop: 'x', recipients: [0], route: null, worker: 'w', lease: 1, clock: new Date(), trace: null, begunAt: new Date(), unclaimed: false, dot: null,
  }))!
  await sleep(20)
  const dsn = report({ parent: id })
  let settling: ReturnType<typeof settleReports>
  let marked: Promise<boolean>
  // While the report is being stored the worker wakes up.
  await assert.rejects(sql.begin(async (tx) => {
    await acceptMessage(tx as unknown as Sql, newMessage(['x@x.test'], { id: dsn.message.id })) // it holds the id
    settling = settleReports(sql, request(id, { expire: true, make: () => [dsn] }))
    await sleep(300)
    marked = markDot(sql, id, attempt.number, [0], 30_000)
    await sleep(300)
    throw new Error('given up')
  }), /given up/)
  assert.equal((await settling!).reports.length, 1)
  assert.equal(await marked!, false)
  assert.equal((await readRecipients(sql, id, 1))[0]!.state, 'expired')
})

test('who is being attempted does not expire, though the lease has lapsed: the dot may be out', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  await sql`update recipients set leased_until = now() - interval '1 second' where message_id = ${id} and n = 0`
  await settleReports(sql, request(id, { expire: true, busy: [0] }))
  assert.deepEqual((await readRecipients(sql, id, 2)).map(({ state }) => state), ['queued', 'expired'])
})

test('what was given up by a rule and is replayed begins anew: it is not given up again before it is tried', async () => {
  const id = await accepted('a@x.test')
  await sql`update recipients set state = 'bouncing', gives_up_at = now() - interval '1 second', waits = 'suspended' where message_id = ${id}`
  await settleReports(sql, request(id))
  await replayMessage(sql, { id, who: 'test', why: '', lifetime: 60_000, retention })
  const until = new Date(Date.now() + 60_000)
  await putOffRecipients(sql, { id, recipients: [0], route: null, destination: 'x', why: 'suspended', until, seen: undefined, clock: new Date(), retention })
  const [row] = await readRecipients(sql, id, 1)
  assert.deepEqual([row!.state, row!.givesUpAt], ['queued', null])
})

test('a held message that owes a report is still driven after its workflow has stamped it', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  await sql`update messages set held_at = now(), drive_at = now() where id = ${id}`
  await sql`update recipients set state = 'bouncing' where message_id = ${id} and n = 0`
  await stampMessage(sql, id, Buffer.from('Received: by x.test\r\n'))
  assert.ok((await readMessage(sql, id))!.driveAt)
})

test('who is given up by a rule has expired, and whose sender wanted to hear of no failure is no dead letter', async () => {
  const id = await accepted('given-up@x.test', 'unwanted@x.test')
  await sql`update recipients set state = 'bouncing', outcome = case n when 0 then '{"givenUp": true}'::jsonb else '{}' end where message_id = ${id}`
  await settleReports(sql, request(id, { isDeadLetter: ({ n }) => n === 0 }))
  assert.deepEqual((await readRecipients(sql, id, 2)).map(({ state, deadLetter }) => [state, deadLetter]), [['expired', true], ['bounced', false]])
})

test('what only the postmaster is told of stays a dead letter', async () => {
  const id = await accepted('gone@x.test')
  await settleReports(sql, request(id, { expire: true, make: () => [{ ...report(), toPostmaster: true }] }))
  assert.deepEqual((await readRecipients(sql, id, 9)).map((r) => [r.state, r.deadLetter]), [['expired', true]])
})

test('whom no report speaks of is a dead letter, though others are told', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  await settleReports(sql, request(id, { expire: true, make: () => [report()] }))
  assert.deepEqual((await readRecipients(sql, id, 9)).map((r) => [r.state, r.deadLetter]), [['expired', false], ['expired', true]])
})

test('a stale look expires nobody whose lifetime has been made longer, nor one on hold', async () => {
  const id = await accepted('a@x.test')
  const early = await settleReports(sql, request(id, { expire: true, at: new Date() }))
  assert.deepEqual([early.progress.queued, (await readRecipients(sql, id, 1))[0]?.state], [1, 'queued'])
  await sql`update messages set held_at = now() where id = ${id}`
  await settleReports(sql, request(id, { expire: true }))
  assert.equal((await readRecipients(sql, id, 1))[0]?.state, 'queued')
})
