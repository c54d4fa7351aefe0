import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nextAttemptAt } from './retry.ts'

const schedule = { minimalBackoffTime: 300_000, maximalBackoffTime: 14_400_000 }

test('the pause doubles from the minimal to the maximal backoff time', () => {
  const pauses = [1, 2, 3, 6, 7, 50].map((attempt) => nextAttemptAt(0, attempt, schedule, 0) / 1000)
  assert.deepEqual(pauses, [300, 600, 1200, 9600, 14_400, 14_400])
})

test('jitter adds up to a tenth and never takes away', () => {
  assert.equal(nextAttemptAt(1000, 1, schedule, 1), 1000 + 330_000)
  assert.equal(nextAttemptAt(1000, 1, schedule, 0), 1000 + 300_000)
})
