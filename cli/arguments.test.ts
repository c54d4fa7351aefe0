import assert from 'node:assert/strict'
import { test } from 'node:test'
import { moment } from './arguments.ts'

test('a time is ISO 8601 or how long ago; a bare number is no year, and what only looks like a time is none', () => {
  for (const text of ['60', '1', '2026', '2h ago', 'yesterday', '2026-13-01', '24 Nov 2026', '2026-11-24 05:00', '2026-11-24T05', '']) {
    assert.throws(() => moment(text), /a time such as 2026-11-24T05:00Z, or how long ago/, text)
  }
  for (const text of ['2026-11-24', '2026-11-24T05:00Z', '2026-11-24T05:00:07.5+01:00', '2026-11-24T05:00']) {
    assert.equal(moment(text).getTime(), new Date(text).getTime(), text)
  }
  const before = Date.now() - moment('2h').getTime()
  assert.ok(Math.abs(before - 7_200_000) < 60_000, String(before))
})
