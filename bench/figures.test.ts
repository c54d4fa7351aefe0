import assert from 'node:assert/strict'
import { test } from 'node:test'
import { median, ratio } from './figures.ts'

test('of an even number of rounds the median is the mean of the two in the middle, not the better of them', () => {
  assert.deepEqual([median([3, 1, 2]), median([4, 1, 3, 2]), median([10, 20])], [2, 2.5, 15])
  assert.ok(Number.isNaN(median([])))
  const rounds = (...rates: number[]) => rates.map((rate) => ({ rate }))
  assert.equal(ratio({ ours: rounds(80, 100), ceiling: rounds(100, 100) }, 'ours', 'ceiling'), 0.9)
})
