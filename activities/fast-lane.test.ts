import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFastLane } from './fast-lane.ts'

test('a slow next hop takes a quarter of the places, all together three quarters; places come back', () => {
  const lane = createFastLane(8)
  const slow = [lane.enter('slow'), lane.enter('slow')]
  assert.equal(lane.enter('slow'), null)
  const others = ['a', 'b', 'c', 'd'].map((hop) => lane.enter(hop))
  assert.deepEqual([slow, others].flat().map((leave) => leave !== null), [true, true, true, true, true, true])
  assert.equal(lane.enter('e'), null)
  slow[0]!()
  assert.notEqual(lane.enter('slow'), null)
})
