import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { addUser, changePassword, findUser, listUsers, removeUser } from './users.ts'

const { sql, drop } = await testDatabase()
after(drop)

test('the name of a user is one in any case of letters: added, found, changed and removed', async () => {
  assert.equal(await addUser(sql, 'Bob', 'one', ['@b.test']), true)
  assert.equal(await addUser(sql, 'BOB', 'two', []), false)
  await addUser(sql, 'alice', 'x', [])
  assert.deepEqual(await findUser(sql, 'bob'), { name: 'Bob', passwordHash: 'one', addresses: ['@b.test'] })
  assert.equal(await changePassword(sql, 'boB', 'three'), true)
  assert.equal((await findUser(sql, 'BOB'))!.passwordHash, 'three')
  assert.deepEqual((await listUsers(sql)).map(({ name }) => name), ['alice', 'Bob'])
  assert.deepEqual([await findUser(sql, 'bo\0b'), await findUser(sql, 'nobody'), await changePassword(sql, 'nobody', 'x')], [null, null, false])
  assert.deepEqual([await removeUser(sql, 'BoB'), await removeUser(sql, 'BoB')], [true, false])
})
