import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { createToken, findToken, listTokens, revokeToken } from './tokens.ts'

const { sql, drop } = await testDatabase()
after(drop)

test('a token is valid until it expires or is revoked, and its name is taken for good', async () => {
  const token = (await createToken(sql, 'b', ['read', 'submit'], null))!
  const { name, scopes } = (await findToken(sql, token))!
  assert.deepEqual([name, scopes], ['b', ['read', 'submit']])
  assert.equal(await findToken(sql, `${token}x`), null)
  assert.equal(await createToken(sql, 'b', ['control'], null), null)
  const timed = (await createToken(sql, 'a', [], new Date(Date.now() + 86_400_000)))!
  assert.ok(await findToken(sql, timed))
  assert.equal(await findToken(sql, (await createToken(sql, 'over', [], new Date(Date.now() - 1000)))!), null)
  assert.deepEqual([await revokeToken(sql, 'b'), await revokeToken(sql, 'b'), await revokeToken(sql, 'c')], [true, false, false])
  assert.equal(await findToken(sql, token), null)
  assert.deepEqual((await listTokens(sql)).map(({ name, expiresAt, revokedAt }) => [name, expiresAt !== null, revokedAt !== null]), [['a', true, false], ['b', false, true], ['over', true, false]])
})

test('the minute of its use is noted, once in a minute', async () => {
  const token = (await createToken(sql, 'used', ['read'], null))!
  const used = async () => (await listTokens(sql)).find(({ name }) => name === 'used')!.usedAt
  assert.equal(await used(), null)
  await findToken(sql, token)
  const first = await used()
  assert.ok(first)
  await findToken(sql, token)
  assert.deepEqual(await used(), first)
  await sql`update tokens set used_at = now() - interval '2 minutes' where name = 'used'`
  await findToken(sql, token)
  assert.ok((await used())! >= first)
})
