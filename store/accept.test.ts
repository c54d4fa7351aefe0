import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { acceptMessage, isAccepted } from './accept.ts'
import { appendChunk } from './bodies.ts'
import type { Sql } from './database.ts'
import { readMessage } from './messages.ts'

const { sql, drop } = await testDatabase()
after(drop)

/** Stores a message in a transaction that stays open until `end` is called with whether it is to be committed. */
function storing(message: ReturnType<typeof newMessage>) {
  let end = (_: boolean) => {}
  let begun = () => {}
  const inserted = new Promise<void>((resolve) => { begun = resolve })
  const done = sql.begin(async (tx) => {
    await acceptMessage(tx as unknown as Sql, message)
    begun()
    if (!(await new Promise<boolean>((resolve) => { end = resolve }))) throw new Error('rolled back')
  }).catch(() => {})
  return { inserted, done, end: (commit: boolean) => end(commit) }
}

for (const commits of [true, false]) {
  test(`whether a message is accepted waits for the commit that is under way: it ${commits ? 'comes' : 'fails'}`, async () => {
    const message = newMessage(['a@x.test'])
    const other = storing(message)
    await other.inserted
    let answer: boolean | null = null
    const asked = isAccepted(sql, message.id).then((accepted) => { answer = accepted })
    await new Promise((resolve) => setTimeout(resolve, 200))
    assert.equal(answer, null)
    other.end(commits)
    await Promise.all([other.done, asked])
    assert.equal(answer, commits)
    assert.equal((await readMessage(sql, message.id)) !== null, commits)
  })
}

test('to ask leaves nothing behind', async () => {
  const { id } = newMessage(['a@x.test'])
  assert.equal(await isAccepted(sql, id), false)
  assert.equal(await readMessage(sql, id), null)
})

test('an upload that is not whole is not accepted, and nothing is kept', async () => {
  const message = newMessage(['a@x.test'])
  await appendChunk(sql, message.id, 0, Buffer.from('half'))
  await assert.rejects(acceptMessage(sql, { ...message, body: 'uploaded' }), /is no longer there/)
  assert.equal(await readMessage(sql, message.id), null)
  await acceptMessage(sql, { ...message, body: 'uploaded', size: 4 })
  assert.equal((await readMessage(sql, message.id))!.size, 4)
})
