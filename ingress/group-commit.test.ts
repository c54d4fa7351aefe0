import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { acceptMessages, type NewMessage } from '../store/accept.ts'
import { readBody } from '../store/bodies.ts'
import { openDatabase, type Sql } from '../store/database.ts'
import { readRecipients } from '../store/recipients.ts'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { until } from '../test/support/until.ts'
import { createGroupCommit } from './group-commit.ts'
import { openClient, type TestClient, testIngress } from './testing.ts'

const { sql, url, drop } = await testDatabase()
after(drop)

const octets = async (id: string, size: number) => {
  const parts: Uint8Array[] = []
  for await (const part of readBody(sql, id, size)) parts.push(part)
  return Buffer.concat(parts)
}

test('messages that come together share transactions, and keep their own octets, recipients and times', async () => {
  const store = createGroupCommit({ sql })
  const later = new Date(Date.now() + 3_600_000)
  const bodies = [
    Buffer.from('plain\r\n'), Buffer.from('quotes " and \\ and {braces}, NULL\r\n'), Buffer.from('NULL'), Buffer.from('\0 and more\r\n'), Buffer.from('grüße\r\n'),
    Buffer.alloc(0), Buffer.alloc(200_000, 'x'), ...Array.from({ length: 33 }, () => randomBytes(2000)),
  ]
  const messages = bodies.map((body, i) => newMessage(i % 3 === 0 ? ['a@x.test', '"q\\"r"@x.test'] : ['b@x.test'], { body, size: body.length, sendAt: i === 1 ? later : null }))
  await Promise.all(messages.map((message) => store(message)))
  const rows = await sql<{ transactions: number; messages: number }[]>`select count(distinct xmin::text) as transactions, count(*) as messages from messages`
  assert.equal(rows[0]!.messages, 40)
  assert.ok(rows[0]!.transactions < 10, `${rows[0]!.transactions} transactions`)
  for (const { id, body, size, envelope } of messages) {
    assert.deepEqual(await octets(id, size), body)
    assert.deepEqual((await readRecipients(sql, id, 9)).map((r) => r.forwardPath), envelope.recipients.map((r) => r.forwardPath))
  }
  assert.equal((await readRecipients(sql, messages[1]!.id, 1))[0]!.nextAttemptAt.getTime(), later.getTime())
})

test('the octets of a group are kept, all of ASCII, with any above it, or with a NUL among them', async () => {
  const ascii = Buffer.from(Array.from({ length: 127 }, (_, i) => i + 1))
  const high = Buffer.from(Array.from({ length: 255 }, (_, i) => i + 1))
  const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
  for (const bodies of [[ascii, Buffer.alloc(0), ascii], [ascii, high, Buffer.from('grüße'), high], [every, high, Buffer.alloc(1), ascii]]) {
    const messages = bodies.map((body) => newMessage(['a@x.test'], { body, size: body.length }))
    await acceptMessages(sql, messages)
    for (const { id, body, size } of messages) assert.deepEqual(await octets(id, size), body)
  }
})

test('a transaction that hangs does not hold the next messages up', async () => {
  const store = createGroupCommit({ sql })
  const [stuck, next] = [newMessage(['a@x.test']), newMessage(['a@x.test'])]
  let hung: Promise<void> | null = null
  await assert.rejects(sql.begin(async (tx) => {
    await acceptMessages(tx as unknown as Sql, [stuck]) // it holds the id
    hung = store(stuck)
    await store(next)
    throw new Error('given up')
  }), /given up/)
  await hung
  assert.equal((await sql`select from messages where id = any(${[stuck.id, next.id]})`).length, 2)
})

test('what is wrong with one of them is not the business of the others', async () => {
  const store = createGroupCommit({ sql })
  const messages = Array.from({ length: 20 }, () => newMessage(['a@x.test']))
  await store(messages[7]!)
  const settled = await Promise.allSettled(messages.map((message) => store(message)))
  assert.deepEqual(settled.map(({ status }) => status === 'fulfilled'), messages.map((_, i) => i !== 7))
  assert.equal((await sql`select from messages where id = any(${messages.map(({ id }) => id)})`).length, 20)
})

/** While somebody holds the table of messages. `waiting`: statements that wait for it. */
async function whileLocked(sql: Sql, work: (waiting: () => Promise<number>) => Promise<void>): Promise<void> {
  await sql.begin(async (tx) => {
    await tx`lock table messages in access exclusive mode`
    await work(async () => (await sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`).length)
  })
}

test('while Postgres hangs, what waits and what is under way is refused in time, and what is refused is not stored later', async () => {
  const accepting = openDatabase(url, 3, 'everpost test', { statement_timeout: '3000' })
  const store = createGroupCommit({ sql, accepting, longest: 1500 })
  const all: NewMessage[] = []
  const refusals: Promise<string>[] = []
  const give = () => {
    all.push(newMessage(['a@x.test']))
    refusals.push(store(all.at(-1)!).then(() => 'stored', (error: { message: string }) => error.message))
  }
  await whileLocked(sql, async (waiting) => {
    for (let under = 1; under <= 3; under++) {
      give()
      await until('it is under way', async () => (await waiting()) === under)
    }
    for (let i = 0; i < 5; i++) give()
    const told = await Promise.all(refusals)
    assert.deepEqual(told.slice(0, 3).filter((text) => !/statement timeout/.test(text)), [])
    assert.deepEqual(new Set(told.slice(3)), new Set(['Postgres is too slow']))
  })
  await store(newMessage(['a@x.test']))
  assert.equal((await sql`select from messages where id = any(${all.map(({ id }) => id)})`).length, 0)
  await accepting.end()
})

test('a client that gave up while Postgres hung is not stored behind its back; those that wait get their 250', async () => {
  const edge = await testIngress()
  const clients: TestClient[] = []
  const begin = async () => {
    const client = openClient(edge.port('smtp'))
    clients.push(client)
    await client.reply()
    for (const line of ['EHLO c.test', 'MAIL FROM:<a@x.test>', 'RCPT TO:<b@example.test>', 'DATA']) {
      client.send(`${line}\r\n`)
      await client.reply()
    }
    client.send(`Subject: ${clients.length}\r\n\r\nx\r\n.\r\n`)
    return client
  }
  try {
    await whileLocked(edge.sql, async (waiting) => {
      for (let under = 1; under <= 3; under++) {
        await begin()
        await until('it is under way', async () => (await waiting()) === under)
      }
      for (let i = 0; i < 3; i++) {
        const client = await begin()
        await sleep(200)
        client.close()
      }
      await begin()
      await sleep(2500)
    })
    for (const i of [0, 1, 2, 6]) assert.match(await clients[i]!.reply(), /^250 /)
    assert.equal(await edge.count(), 4)
  } finally {
    for (const client of clients) client.close()
    await edge.end()
  }
})
