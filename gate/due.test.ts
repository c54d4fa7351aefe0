import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dueTo, placesOf, wholeShare } from './due.ts'

test('shares go by what each worker could use, and add up to the limit', () => {
  for (const [limit, ...wants] of [[10, 5, 5], [10, 1, 99], [7, 1, 1, 1], [1, 3, 3, 3], [100, 0, 5]] as const) {
    const map = new Map(wants.map((want, i) => [`w${i}`, want]))
    const shares = [...map.keys()].map((worker) => wholeShare(limit, map, worker, 0))
    assert.equal(shares.reduce((sum, each) => sum + each, 0), limit, `${limit}: ${shares}`)
  }
  const even = new Map([['a', 1], ['b', 1]])
  assert.deepEqual([0, 1].map((turn) => wholeShare(1, even, 'a', turn)).sort(), [0, 1], 'each has its turn')
})

const row = (worker: string, wants: number, places: number) => ({ destination: 'd', worker, wants, places })

test('who wants nothing is due nothing, so that the others have all of it', () => {
  const rows = [row('a', 4, 3), row('b', 0, 1)]
  assert.deepEqual(dueTo('a', { concurrency: 4, rate: 2 }, rows), { concurrency: 4, rate: 2 })
  assert.deepEqual(dueTo('b', { concurrency: 4, rate: 2 }, rows), { concurrency: 0, rate: 0 })
})

test('what others still hold is not there to be taken, and what is under way is held', () => {
  assert.equal(placesOf('a', 6, 3, [row('a', 6, 1), row('b', 6, 5)], 1), 1)
  assert.equal(placesOf('a', 6, 3, [row('a', 6, 1), row('b', 6, 3)], 1), 3)
  assert.equal(placesOf('a', 6, 3, [row('a', 6, 6), row('b', 6, 0)], 5), 5)
})
