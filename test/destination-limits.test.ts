import assert from 'node:assert/strict'
import { createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Everpost, prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

interface SlowHost {
  port: number
  /** When each message was taken, in milliseconds. */
  taken: number[]
  /** Integral of the transactions under way over time, in milliseconds, and the most at once; a connection that waits for the next is none. */
  sessionTime: () => number
  most: () => number
  close(): Promise<void>
}

/** A host that takes `pause` milliseconds to answer the final dot, and measures how many transactions it has. */
async function startSlowHost(pause: number): Promise<SlowHost> {
  const sockets = new Set<Socket>()
  const taken: number[] = []
  let [open, most, spent, changed] = [0, 0, 0, performance.now()]
  const change = (by: number) => {
    const now = performance.now()
    spent += open * (now - changed)
    changed = now
    open += by
    most = Math.max(most, open)
  }
  const server = createServer((socket) => {
    sockets.add(socket)
    let inTransaction = 0
    const transact = (now: 0 | 1) => {
      change(now - inTransaction)
      inTransaction = now
    }
    socket.on('close', () => {
      sockets.delete(socket)
      transact(0)
    }).on('error', () => {})
    let inData = false
    const say = (line: string) => socket.write(`${line}\r\n`)
    say('220 slow.test')
    socket.setEncoding('latin1').on('data', async (text: string) => {
      for (const line of text.split('\r\n').slice(0, -1)) {
        if (inData && line !== '.') continue
        if (line === '.') {
          inData = false
          await sleep(pause)
          taken.push(performance.now())
          transact(0)
          say('250 2.0.0 taken')
        } else if (line === 'DATA') {
          inData = true
          say('354 go on')
        } else if (line.startsWith('MAIL')) {
          transact(1)
          say('250 ok')
        } else if (line === 'QUIT') socket.end('221 bye\r\n')
        else say('250 ok')
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as { port: number }).port,
    taken,
    sessionTime: () => {
      change(0)
      return spent
    },
    most: () => most,
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

/** Both workers are at it, and every message has been looked at once: the rush of the beginning is over. */
async function untilUnderWay(everpost: Everpost): Promise<void> {
  await until('both have begun', async () => (await everpost.sql`select distinct worker from attempts`).length === 2)
  await until('all messages were looked at', async () => (await everpost.sql`select from recipients where waits is null and outcome is null`).length <= 8)
}

/** What each worker has attempted since: that they share is shown only when all of them had a part. */
async function attemptsSince(everpost: Everpost, at: Date): Promise<number[]> {
  return (await everpost.sql<{ attempts: number }[]>`select count(*) as attempts from attempts where begun_at >= ${at} group by worker`).map((row) => row.attempts)
}

/**
 * Measures the part of a limit that is used, again while it is below `least`: other work on the machine may keep the workers
 * from what they may do. Above the limit there is no excuse, and no second time.
 */
async function heldTo(what: string, least: number, measure: () => Promise<number>): Promise<void> {
  const ratios: string[] = []
  for (let best = 0; best < least; ) {
    const ratio = await measure()
    ratios.push(ratio.toFixed(3))
    assert.ok(ratio <= 1.1, `${what}: ${ratios} of the limit`)
    assert.ok(ratio >= least || ratios.length < 4, `${what}: ${ratios} of the limit`)
    best = Math.max(best, ratio)
  }
  console.log(`${what} over two workers: ${ratios} of the limit`)
}

test('two workers on separate processes share the rate of one destination, within a tenth', async () => {
  const [host, rate] = [await startSlowHost(0), 3]
  const everpost = await prepareEverpost({
    routes: [{ domain: 'slow.test', nextHop: `[127.0.0.1]:${host.port}` }], destinations: { limits: [{ destination: `[127.0.0.1]:${host.port}`, rate: `${rate}/s` }] },
  })
  try {
    await everpost.start('ingress')
    await everpost.start('worker')
    await everpost.start('worker')
    await Promise.all(Array.from({ length: 130 }, (_, i) => everpost.send(`x${i}@slow.test`)))
    await untilUnderWay(everpost)
    await heldTo('rate', 0.9, async () => {
      const [from, begun, since] = [host.taken.length, performance.now(), new Date()]
      await sleep(10_000)
      assert.equal((await attemptsSince(everpost, since)).length, 2)
      return (host.taken.length - from) / ((performance.now() - begun) / 1000) / rate
    })
  } finally {
    await everpost.end()
    await host.close()
  }
})

test('two workers on separate processes share the concurrency of one destination: nine tenths of it are used at least, and it is never exceeded', async () => {
  const [host, limit] = [await startSlowHost(4000), 4]
  // Each on a connection of its own: what is held is what is measured.
  const everpost = await prepareEverpost({ transfer: { connectionMessages: 1 }, routes: [{ domain: 'slow.test', nextHop: `[127.0.0.1]:${host.port}` }] })
  try {
    await everpost.start('ingress')
    await everpost.start('worker')
    await everpost.start('worker')
    assert.equal((await everpost.command('destination', 'limit', `[127.0.0.1]:${host.port}`, '--concurrency', String(limit))).code, 0)
    await sleep(1000)
    await Promise.all(Array.from({ length: 60 }, (_, i) => everpost.send(`x${i}@slow.test`)))
    await untilUnderWay(everpost)
    await heldTo('concurrency', 0.9, async () => {
      const [spent, begun, since] = [host.sessionTime(), performance.now(), new Date()]
      await sleep(12_000)
      assert.equal((await attemptsSince(everpost, since)).length, 2)
      return (host.sessionTime() - spent) / (performance.now() - begun) / limit
    })
    assert.ok(host.most() <= limit, `${host.most()} transactions at once, of ${limit}`)
  } finally {
    await everpost.end()
    await host.close()
  }
})
