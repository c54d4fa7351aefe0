import assert from 'node:assert/strict'
import { test } from 'node:test'
import { moment, span, stamp, whenNext, whom } from './format.ts'

const at = new Date('2026-11-24T05:00:00.700Z')

test('times are shown to the second, and how far they are in the two largest units', () => {
  assert.deepEqual([0, 12_000, 299_000, 3 * 86_400_000 + 4 * 3_600_000 + 5000].map(span), ['0s', '12s', '4m 59s', '3d 4h'])
  assert.equal(stamp(at), '2026-11-24 05:00:00Z')
  assert.equal(moment(at, at.getTime() - 299_000), '2026-11-24 05:00:00Z (in 4m 59s)')
  assert.equal(moment(at, at.getTime() + 60_000), '2026-11-24 05:00:00Z (1m ago)')
})

test('a listing of the queue says what happens next: an attempt under way goes before a hold, a hold before a time', () => {
  const next = (change: { active?: boolean; held?: boolean; nextAttemptAt?: Date | null }) =>
    whenNext({ active: false, held: false, nextAttemptAt: at, ...change }, at.getTime() - 5000)
  assert.deepEqual([{ active: true, held: true }, { held: true }, {}, { nextAttemptAt: new Date(0) }, { nextAttemptAt: null }].map(next), ['under way', 'on hold', 'in 5s', 'now', 'now'])
  assert.deepEqual([whom({ forwardPath: 'a@b.test', waiting: 3 }), whom({ forwardPath: null, waiting: 0 })], ['a@b.test +2', '(a report is due)'])
})
