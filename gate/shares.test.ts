import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { testDatabase } from '../test/support/database.ts'
import { until } from '../test/support/until.ts'
import { keepShares } from './shares.ts'
import type { Limit } from './types.ts'

const { sql, drop } = await testDatabase()
after(drop)

interface Mill {
  /** Attempts under way, and how many more there could be. */
  underWay: number
  more: number
  part(): number
  share(): Promise<Limit>
  freed(): void
  stop(): Promise<void>
  /** As a process that was killed. */
  freeze(): void
}

/** A worker that takes each place it is given, for a limit of so many. */
function startMill(worker: string, limit: Limit, name: string, more = 100): Mill {
  const shares = keepShares({ sql, worker, busy: () => ({ underWay: mill.underWay, wants: mill.underWay + mill.more }), wake: () => grind() })
  const timer = setInterval(() => void shares.renew().catch(() => {}), 300)
  function grind(): void {
    const part = shares.part(name)
    while (part && mill.more > 0 && mill.underWay < (part.concurrency ?? 0)) {
      mill.underWay++
      mill.more--
    }
  }
  const mill: Mill = {
    underWay: 0, more,
    part: () => shares.part(name)?.concurrency ?? 0,
    share: () => shares.share(name, limit),
    freed() {
      mill.underWay--
      shares.freed(name)
      grind()
    },
    async stop() {
      clearInterval(timer)
      await shares.stop()
    },
    freeze: () => clearInterval(timer),
  }
  return mill
}

test('places are shared by what each wants, never more than there are, and what one gives back another has at once', async () => {
  const limit = { concurrency: 6, rate: null }
  const a = startMill('a', limit, 'x.test')
  const b = startMill('b', limit, 'x.test')
  try {
    assert.deepEqual(await a.share(), { concurrency: 6, rate: null })
    await until('one has all of them, while it is alone', () => a.underWay === 6)
    await b.share()
    assert.equal(b.underWay, 0)
    for (let ended = 0; ended < 60; ended++) {
      const mill = ended % 2 && b.underWay > 0 ? b : a
      mill.freed()
      assert.ok(a.underWay + b.underWay <= 6, `${a.underWay} and ${b.underWay}`)
      await sleep(10)
    }
    await until('each has half', () => a.underWay === 3 && b.underWay === 3)

    a.more = 0
    for (let i = 0; i < 3; i++) a.freed()
    await until('who wants nothing holds nothing', () => b.underWay === 6)
    assert.equal(a.part(), 0)
    b.more = 0
    for (let i = 0; i < 6; i++) b.freed()
    a.more = 100
    await a.share()
    await until('and may have it again', () => a.underWay >= 3)
  } finally {
    await Promise.all([a.stop(), b.stop()])
  }
})

test('of one place each has its turn', async () => {
  const limit = { concurrency: 1, rate: null }
  const mills = ['a', 'b', 'c'].map((worker) => startMill(worker, limit, 'one.test'))
  const took = new Set<number>()
  try {
    await Promise.all(mills.map((mill) => mill.share()))
    await until('all three had it', () => {
      assert.ok(mills.reduce((sum, mill) => sum + mill.underWay, 0) <= 1)
      for (const [i, mill] of mills.entries()) {
        if (mill.underWay === 0) continue
        took.add(i)
        mill.freed()
      }
      return took.size === 3
    })
  } finally {
    await Promise.all(mills.map((mill) => mill.stop()))
  }
})

test('the places of a worker that has ended are free at once, those of one that has died after its lease', async () => {
  const limit = { concurrency: 2, rate: null }
  const [ends, dies, lives] = ['a', 'b', 'c'].map((worker) => startMill(worker, limit, 'y.test')) as [Mill, Mill, Mill]
  try {
    await ends.share()
    await until('it has both', () => ends.underWay === 2)
    await ends.stop()
    await dies.share()
    await until('the next has both', () => dies.underWay === 2)
    dies.freeze()
    await lives.share()
    assert.equal(lives.underWay, 0)
    await until('they lapse', () => lives.underWay === 2)
  } finally {
    await Promise.all([dies.stop(), lives.stop()])
  }
})
