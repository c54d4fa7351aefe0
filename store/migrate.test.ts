import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { appendChunk, discardUpload, readBody } from './bodies.ts'
import { acceptMessage } from './accept.ts'
import { newMessage } from '../test/support/messages.ts'
import { openDatabase, UnfitDatabase } from './database.ts'
import { knownMigrations, migrate } from './migrate.ts'

const { sql, url, drop } = await testDatabase({ empty: true })
after(drop)

test('processes that start together on an empty database do not race', async () => {
  const others = Array.from({ length: 4 }, () => openDatabase(url, 1))
  const applied = await Promise.all(others.map(migrate))
  assert.deepEqual(applied.flat(), (await knownMigrations()).map((migration) => migration.name))
  await Promise.all(others.map((other) => other.end()))
})

test('an uploaded body comes back octet for octet, and a forgotten one leaves no trace', async () => {
  const chunks = [Buffer.from('Subject: x\r\n\r\n'), Buffer.from([0, 255, 128, 13, 10])]
  const message = newMessage(['a@x.test'], { body: 'uploaded', size: 19 })
  for (const [seq, chunk] of chunks.entries()) await appendChunk(sql, message.id, seq, chunk)
  await acceptMessage(sql, message)
  const read: Uint8Array[] = []
  for await (const chunk of readBody(sql, message.id, message.size)) read.push(chunk)
  assert.deepEqual(Buffer.concat(read), Buffer.concat(chunks))

  const cut = newMessage(['a@x.test'], { body: 'uploaded', size: 19 })
  await appendChunk(sql, cut.id, 0, chunks[0]!)
  await assert.rejects(acceptMessage(sql, cut), /is no longer there/)
  await sql`delete from uploads where id = ${cut.id}`
  await assert.rejects(appendChunk(sql, cut.id, 1, chunks[1]!), /is no longer there/)
  await sql`delete from body_chunks where message_id = ${cut.id}`

  const left = newMessage(['a@x.test'], { body: 'uploaded' })
  await appendChunk(sql, left.id, 0, chunks[0]!)
  await discardUpload(sql, left.id)
  await assert.rejects(acceptMessage(sql, left), /is no longer there/)
  assert.equal((await sql`select from body_chunks where message_id = ${left.id}`).length, 0)
  assert.equal((await sql`select from messages where id = ${left.id}`).length, 0)
})

test('a newer schema is let alone, unless it is said to break older programs', async () => {
  await sql`insert into migrations (number, name) values (998, 'from the future')`
  assert.deepEqual(await migrate(sql), [])
  await sql`insert into migrations (number, name, breaking) values (999, 'from the future', true)`
  await assert.rejects(migrate(sql), (error) => error instanceof UnfitDatabase && /schema 999/.test(error.message))
})
