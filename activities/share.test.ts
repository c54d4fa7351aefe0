import assert from 'node:assert/strict'
import { test } from 'node:test'
import { shareOf, wholeShare } from './share.ts'

test('shares go by what each worker could use, and add up to the limit', () => {
  for (const [limit, ...wants] of [[10, 5, 5], [10, 1, 99], [7, 1, 1, 1], [1, 3, 3, 3], [100, 0, 5]] as const) {
    const map = new Map(wants.map((want, i) => [`w${i}`, want]))
    const shares = [...map.keys()].map((worker) => wholeShare(limit, map, worker, 0))
    assert.equal(shares.reduce((sum, each) => sum + each, 0), limit, `${limit}: ${shares}`)
  }
  const even = new Map([['a', 1], ['b', 1]])
  assert.deepEqual([0, 1].map((turn) => wholeShare(1, even, 'a', turn)).sort(), [0, 1], 'each has its turn')
  assert.equal(wholeShare(5, new Map(), 'a', 0), 5)
})

test('what others still have under way is not there to be taken', () => {
  const row = (worker: string, wants: number, underWay: number) => ({ destination: 'd', worker, wants, underWay })
  assert.deepEqual(shareOf({ concurrency: 6, rate: 3 }, [row('a', 6, 1), row('b', 6, 5)], 'a'), { concurrency: 1, rate: 1.5 })
  assert.deepEqual(shareOf({ concurrency: 6, rate: null }, [row('a', 6, 1), row('b', 6, 3)], 'a'), { concurrency: 3, rate: null })
})
