import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { until } from '../test/support/until.ts'
import { acceptMessage } from './accept.ts'
import { controlMessage } from './control.ts'
import type { Sql } from './database.ts'
import { discardEvents, endStream, isAhead, presentCursor, readEvents, renewStream } from './events.ts'
import { replayMessage } from './replay.ts'
import { settleReports } from './reports.ts'

const { sql, drop } = await testDatabase()
before(() => renewStream(sql, 'test', 600))
after(drop)

const retention = { delivered: 0, failed: 60_000 }

async function accepted(...recipients: string[]): Promise<string> {
  const message = newMessage(recipients)
  await acceptMessage(sql, message)
  return message.id
}

/** A transaction of whomever on this server may hold back the reading for a moment. */
async function told(from: string, id: string, count: number) {
  return await until('the events can be read', async () => {
    const events = await readEvents(sql, from, 99, id)
    return events.length >= count && events
  })
}

test('a delivery is told of once, at once, though its report comes later; a failure with its report', async () => {
  const from = await presentCursor(sql)
  const id = await accepted('a@x.test', 'b@x.test')
  for (const [n, ...states] of [[0, 'notifying', 'delivered'], [1, 'bouncing', 'bounced']] as const) {
    for (const state of states) await sql`update recipients set state = ${state}, outcome = ${sql.json({ text: 'said so' })} where message_id = ${id} and n = ${n}`
  }
  const events = await told(from, id, 3)
  assert.deepEqual(events.map(({ event, detail }) => [event, detail['to']]), [['accepted', undefined], ['delivered', 'a@x.test'], ['bounced', 'b@x.test']])
})

test('what is rolled back was never told; the same deferral again is told again; a replay says who and why', async () => {
  const from = await presentCursor(sql)
  const id = await accepted('a@x.test')
  await sql.begin(async (tx) => {
    await tx`update recipients set state = 'delivered' where message_id = ${id}`
    throw new Error('back')
  }).catch(() => {})
  for (let i = 1; i <= 2; i++) await sql`update recipients set state = 'queued', attempts = ${i}, outcome = ${sql.json({ text: 'later' })} where message_id = ${id}`
  await controlMessage(sql, id, { action: 'drop', who: 'me', why: 'spam' }, 'one', retention)
  await settleReports(sql, { id, expire: false, delayed: false, at: new Date(), retention, make: () => [], isDeadLetter: () => true })
  await replayMessage(sql, { id, given: true, who: 'me', why: 'no spam', lifetime: 1000, retention })
  const events = await told(from, id, 6)
  assert.deepEqual(events.map(({ event }) => event), ['accepted', 'deferred', 'deferred', 'action', 'bounced', 'replayed'])
  assert.deepEqual([events[4]!.detail['dropped'], events[3]!.detail['action'], events[5]!.detail['why']], [true, 'drop', 'no spam'])
})

test('a stream that reads on misses nothing that an older transaction commits later', async () => {
  let cursor = await presentCursor(sql)
  const early = newMessage(['a@x.test'])
  const seen: string[] = []
  const read = async () => {
    const events = await readEvents(sql, cursor, 99)
    cursor = events.at(-1)?.cursor ?? cursor
    seen.push(...events.map((event) => event.messageId))
  }
  let late = ''
  await sql.begin(async (tx) => {
    await acceptMessage(tx as unknown as Sql, early)
    late = await accepted('b@x.test')
    await read()
  })
  await until('both are read', async () => {
    await read()
    return seen.length >= 2
  })
  assert.deepEqual(seen, [early.id, late])
})

test('nor what a transaction that began first says last: events come by their transactions', async () => {
  let cursor = await presentCursor(sql)
  const [slow, quick] = [newMessage(['a@x.test']), newMessage(['b@x.test'])]
  await sql.begin(async (tx) => {
    await tx`select pg_current_xact_id()`
    await acceptMessage(sql, quick)
    const [row] = await sql<{ cursor: string }[]>`select transaction::text || '-' || seq as cursor from events where message_id = ${quick.id}`
    assert.equal(await isAhead(sql, row!.cursor), false, 'one that another transaction still holds back')
    await acceptMessage(tx as unknown as Sql, slow)
  })
  const seen: string[] = []
  await until('both are read, one by one', async () => {
    const [event] = await readEvents(sql, cursor, 1)
    if (event) seen.push(event.messageId)
    cursor = event?.cursor ?? cursor
    return seen.length >= 2
  })
  assert.deepEqual(seen, [slow.id, quick.id])
  assert.equal(await isAhead(sql, `${BigInt(cursor.split('-')[0]!) + 1_000_000n}-0`), true)
})

test('a stream lasts as long as it is renewed, and one that ended without a word is forgotten', async () => {
  const left = async (name: string) => (await sql<{ seconds: number }[]>`select extract(epoch from until - now())::float8 as seconds from subscribers where name = ${name}`)[0]?.seconds
  await renewStream(sql, 'short', 5)
  await renewStream(sql, 'short', 100)
  await renewStream(sql, 'lapsed', -1)
  await discardEvents(sql, 86_400_000, 1000, null)
  assert.ok((await left('short'))! > 50)
  assert.equal(await left('lapsed'), undefined)
  await endStream(sql, 'short')
  assert.equal(await left('short'), undefined)
})

test('without a subscriber nothing is written, and what is old goes', async () => {
  await endStream(sql, 'test')
  const id = await accepted('a@x.test')
  assert.equal((await sql`select from events where message_id = ${id}`).length, 0)
  await sql`update events set at = now() - interval '2 days'`
  assert.equal(await discardEvents(sql, 86_400_000, 1000, null), null)
  assert.equal((await sql`select from events`).length, 0)
})

test('what webhooks owe, or gave up, is not read in each round that looks for old events', async () => {
  const [owed, limit] = [50_000, 1000]
  await sql`
    insert into events (seq, message_id, at, event, detail) overriding system value
    select n, 'm', now() - interval '9 days' + n * interval '1 second', 'accepted', '{}' from generate_series(1, ${owed + 3}::int) n`
  await sql`insert into webhook_queue (webhook, seq, message_id) select 'w', seq, message_id from events where seq <= ${owed}`
  await sql`analyze events`
  let looked = await discardEvents(sql, 86_400_000, limit, null)
  for (let next = looked; next; next = await discardEvents(sql, 86_400_000, limit, next)) looked = next
  assert.equal((await sql`select from events`).length, owed, 'what nobody owes is gone')
  const read = await sql.begin(async (tx) => {
    const sofar = async () => (await tx<[{ rows: number }]>`select seq_tup_read + idx_tup_fetch as rows from pg_stat_xact_user_tables where relname = 'events'`)[0].rows
    const before = await sofar()
    await discardEvents(tx as unknown as Sql, 86_400_000, limit, looked)
    return (await sofar()) - before
  })
  assert.ok(read <= 2 * limit, `${read} rows`)
})
