import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ControlRequest, refusalOf } from './control.ts'

const retry: ControlRequest = { action: 'retry', who: 'test', why: '' }

test('what Postgres could not keep is refused before it is asked: the message would stand still with it', () => {
  const half = '\ud800'
  const wrong: Partial<ControlRequest>[] = [
    { why: 'a\0b' }, { who: `a${half}` }, { why: `${half}a` }, { why: '\udc00' }, { action: 'reroute', nextHop: 'a\0b.test' },
    { recipients: [3_000_000_000] }, { recipients: [1.5] }, { recipients: [-1] },
  ]
  for (const change of wrong) assert.notEqual(refusalOf({ ...retry, ...change }), null, JSON.stringify(change))
  for (const change of [{ why: 'café \u{1f4e8}\n' }, { recipients: [0, 9999] }, { recipients: null }]) assert.equal(refusalOf({ ...retry, ...change }), null, JSON.stringify(change))
})
