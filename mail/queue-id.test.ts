import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { makeQueueId, queueIdPattern } from './queue-id.ts'

test('queue ids fit their pattern, differ, and sort by time', () => {
  const early = makeQueueId(1_700_000_000_000, randomBytes(8))
  const late = makeQueueId(1_700_000_000_001, randomBytes(8))
  assert.match(early, queueIdPattern)
  assert.ok(early < late)
  assert.notEqual(early, makeQueueId(1_700_000_000_000, randomBytes(8)))
})
