import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, test } from 'node:test'
import { acceptMessages } from '../store/accept.ts'
import { readBody } from '../store/bodies.ts'
import type { Sql } from '../store/database.ts'
import { readRecipients } from '../store/recipients.ts'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { createGroupCommit } from './group-commit.ts'

const { sql, drop } = await testDatabase()
after(drop)

const octets = async (id: string, size: number) => {
  const parts: Uint8Array[] = []
  for await (const part of readBody(sql, id, size)) parts.push(part)
  return Buffer.concat(parts)
}

test('messages that come together share transactions, and keep their own octets, recipients and times', async () => {
  const store = createGroupCommit(sql)
  const later = new Date(Date.now() + 3_600_000)
  const bodies = [
    Buffer.from('plain\r\n'), Buffer.from('quotes " and \\ and {braces}, NULL\r\n'), Buffer.from('NULL'), Buffer.from('\0 and more\r\n'), Buffer.from('grüße\r\n'),
    Buffer.alloc(0), Buffer.alloc(200_000, 'x'), ...Array.from({ length: 33 }, () => randomBytes(2000)),
  ]
  const messages = bodies.map((body, i) => newMessage(i % 3 === 0 ? ['a@x.test', '"q\\"r"@x.test'] : ['b@x.test'], { body, size: body.length, sendAt: i === 1 ? later : null }))
  await Promise.all(messages.map(store))
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
  const store = createGroupCommit(sql)
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
  const store = createGroupCommit(sql)
  const messages = Array.from({ length: 20 }, () => newMessage(['a@x.test']))
  await store(messages[7]!)
  const settled = await Promise.allSettled(messages.map(store))
  assert.deepEqual(settled.map(({ status }) => status === 'fulfilled'), messages.map((_, i) => i !== 7))
  assert.equal((await sql`select from messages where id = any(${messages.map(({ id }) => id)})`).length, 20)
})
