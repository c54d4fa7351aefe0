import assert from 'node:assert/strict'
import { test } from 'node:test'
import { whyLimited } from './limits.ts'

test('a limit is told in whole numbers, by the hour where they are few', () => {
  const told = ([concurrency, rate]: [number | null, number | null]) => whyLimited('a.test', { concurrency, rate }).replace('the limit for a.test is reached: ', '')
  const limits: [number | null, number | null][] = [[1, null], [4, 1], [null, 1 / 60], [null, 1 / 3600], [2, 2 / 3600], [null, 100 / 60]]
  assert.deepEqual(limits.map(told), [
    '1 attempt at a time', '4 attempts at a time and 60 attempts a minute', '1 attempt a minute', '1 attempt an hour', '2 attempts at a time and 2 attempts an hour', '100 attempts a minute',
  ])
})
