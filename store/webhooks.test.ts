import assert from 'node:assert/strict'
import { after, beforeEach, test } from 'node:test'
import { testDatabase, turnClock } from '../test/support/database.ts'
import { claimDeliveries, type WebhookDelivery, deadDeliveries, deliveryFailed, deliveryTaken, discardDead, giveUpOld, listWebhooks, reviveDeliveries, subscribeWebhooks } from './webhooks.ts'

const { sql, drop } = await testDatabase({ clock: true })
after(drop)
const [minute, day] = [60_000, 86_400_000]
const lease = minute

beforeEach(async () => {
  await sql`delete from events`
  await sql`delete from subscribers`
  await subscribeWebhooks(sql, [{ name: 'w' }])
})

/** An event of each of these messages in turn, numbered from 1, so many milliseconds old. */
async function owed(messages: string, age = 0, from = 1): Promise<void> {
  for (const [i, message] of [...messages].entries()) {
    await sql`
      insert into events (seq, message_id, at, event, detail) overriding system value
      values (${from + i}, ${message}, now() - ${age}::float8 * interval '1 millisecond', 'attempt', '{}')`
    await sql`insert into webhook_queue (webhook, seq, message_id) values ('w', ${from + i}, ${message})`
  }
}
const claim = async (limit = 20) => (await claimDeliveries(sql, 'w', limit, lease)).deliveries
const numbers = (deliveries: { seq: number; attempts: number }[]) => deliveries.map(({ seq, attempts }) => `${seq}:${attempts}`).join(' ')
const dead = async () => (await sql<{ seq: number; problem: string }[]>`select seq, problem from webhook_queue where dead_at is not null order by seq`).map(({ seq, problem }) => `${seq} ${problem}`)

test('of each message the oldest event is taken; the next once that is done with, and all that follow what failed once its pause is over', async () => {
  await owed('aabab')
  const [a, b] = await claim() as [WebhookDelivery, WebhookDelivery]
  assert.deepEqual([numbers([a, b]), a.messageId, b.messageId, a.event], ['1:1 3:1', 'a', 'b', 'attempt'])
  assert.equal(numbers(await claim()), '')
  await deliveryTaken(sql, 'w', a)
  assert.equal(numbers(await claim()), '2:1')
  await deliveryFailed(sql, 'w', b, 'HTTP 503', 10 * minute)
  await turnClock(sql, 5)
  assert.equal(numbers(await claim()), '2:2', 'its lease has ended')
  await turnClock(sql, 6)
  const again = await claim()
  assert.equal(numbers(again), '2:3 3:2')
  await deliveryTaken(sql, 'w', again[1]!)
  assert.equal(numbers(await claim()), '5:1')
  assert.deepEqual((await sql`select seq, problem from webhook_queue where problem is not null`).length, 0, 'the problem was that of one event')
})

test('no more than asked for, and whether there is more', async () => {
  await owed('abcaaa')
  const first = await claimDeliveries(sql, 'w', 2, lease)
  assert.deepEqual([numbers(first.deliveries), first.more], ['1:1 2:1', true])
  const second = await claimDeliveries(sql, 'w', 2, lease)
  assert.deepEqual([numbers(second.deliveries), second.more], ['3:1', false])
  await owed('z'.repeat(25), 0, 10)
  const behind = await claimDeliveries(sql, 'w', 2, lease)
  assert.deepEqual([numbers(behind.deliveries), behind.more], ['10:1', true], 'twenty rows are looked at, and five more are due')
})

test('what was given up lets the next go, is listed newest first, tried again from the beginning, and forgotten after its time', async () => {
  await owed('aaab')
  const [a, b] = await claim() as [WebhookDelivery, WebhookDelivery]
  await deliveryFailed(sql, 'w', a, 'HTTP 500', null)
  assert.equal(numbers(await claim()), '2:1')
  await turnClock(sql, 30)
  await deliveryFailed(sql, 'w', b, 'HTTP 404', null)
  assert.deepEqual((await deadDeliveries(sql, 9)).map(({ webhook, seq, attempts, problem }) => [webhook, seq, attempts, problem]), [['w', 4, 1, 'HTTP 404'], ['w', 1, 1, 'HTTP 500']])
  assert.equal((await deadDeliveries(sql, 1))[0]!.seq, 4)
  await sql`update events set at = at - interval '1 hour' where seq = 1`
  const [listed] = await listWebhooks(sql)
  const [second] = await sql<{ at: Date }[]>`select at from events where seq = 2`
  assert.deepEqual([listed!.name, listed!.waiting, listed!.dead, listed!.oldest], ['w', 2, 2, second!.at], 'the oldest of those that wait')
  assert.equal(await discardDead(sql, 20 * minute, 9), 1)
  assert.deepEqual(await dead(), ['4 HTTP 404'])
  assert.equal(await reviveDeliveries(sql), 1)
  assert.equal(numbers(await claim()), '2:2 4:1')
})

test('one that is too old takes all that is as old with it: those that wait, and those behind it, but for those under way', async () => {
  // c is under way, b has failed and waits, d is young, and so is the last of a.
  await owed('aabbc', 3 * day)
  await owed('da', 0, 6)
  const claimed = await claim()
  const of = (message: string) => claimed.find(({ messageId }) => messageId === message)!
  await deliveryFailed(sql, 'w', of('b'), 'HTTP 503', 10 * minute)
  await deliveryFailed(sql, 'w', of('d'), 'HTTP 503', 10 * minute)
  assert.equal(await giveUpOld(sql, 'w', of('a'), { lifetime: 2 * day, lease, problem: 'too old' }), 3)
  assert.deepEqual(await dead(), ['2 too old', '3 HTTP 503', '4 too old'])
  await deliveryFailed(sql, 'w', of('a'), 'HTTP 500', null)
  assert.equal(numbers(await claim()), '7:1', 'the young one of that message is next')
})

test('who is no longer named is forgotten with what it was owed, other events are wanted from then on, and streams stay', async () => {
  await owed('ab')
  await sql`insert into subscribers (name, kind) values ('s', 'stream')`
  await subscribeWebhooks(sql, [{ name: 'w', events: ['bounced'] }, { name: 'x' }])
  assert.equal((await sql`select from webhook_queue`).length, 2)
  await subscribeWebhooks(sql, [{ name: 'x', events: ['delivered'] }])
  assert.deepEqual((await sql`select name, kind, events from subscribers order by name`).map((row) => Object.values(row)), [['s', 'stream', null], ['x', 'webhook', ['delivered']]])
  assert.equal((await sql`select from webhook_queue`).length, 0)
})
