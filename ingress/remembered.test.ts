import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { remembered } from './remembered.ts'

test('an answer is kept for its time, shared by those who wait for it, and forgotten when it is not worth it', async () => {
  const asked: string[] = []
  const ask = remembered(async (key) => {
    asked.push(key)
    await sleep(5)
    return key.toUpperCase()
  }, 200, (answer) => answer !== 'BAD')
  assert.deepEqual(await Promise.all([ask('a'), ask('a'), ask('b')]), ['A', 'A', 'B'])
  assert.equal(await ask('a'), 'A')
  assert.deepEqual(asked, ['a', 'b'])
  assert.deepEqual([await ask('bad'), await ask('bad')], ['BAD', 'BAD'])
  assert.deepEqual(asked, ['a', 'b', 'bad', 'bad'])
  await sleep(300)
  await ask('a')
  assert.equal(asked.filter((key) => key === 'a').length, 2)
})

test('of very many answers the oldest are forgotten', async () => {
  const asked: string[] = []
  const ask = remembered(async (key) => asked.push(key), 60_000)
  for (let i = 0; i <= 10_000; i++) await ask(String(i))
  await ask('10000')
  assert.equal(asked.length, 10_001)
  await ask('0')
  assert.equal(asked.length, 10_002)
})
