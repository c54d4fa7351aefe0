import assert from 'node:assert/strict'
import { test } from 'node:test'
import { freePort } from '../dev/ports.ts'
import { startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'
import { testTemporal } from './support/temporal.ts'
import { until } from './support/until.ts'

test('everything is stopped with mail in the queue and started again: the queue, its history and its schedule go on', async () => {
  const port = await freePort()
  const temporal = await testTemporal()
  await temporal.start()
  const everpost = await prepareEverpost({
    // A circuit would keep some of them from their first attempt.
    retry: { minimalBackoffTime: '2s' }, destinations: { circuitFailures: 100 }, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${port}` }],
  }, temporal.address)
  let peer: Awaited<ReturnType<typeof startPeer>> | undefined
  try {
    const child = await everpost.start()
    const ids = await Promise.all(Array.from({ length: 10 }, (_, i) => everpost.send(`r${i}@partner.test`)))
    for (const id of ids) await until('a first attempt', async () => (await readAttempts(everpost.sql, id, 1))[0]?.endedAt)
    const listed = await everpost.command('queue', '--json')
    assert.deepEqual((JSON.parse(listed.stdout) as { id: string }[]).map((row) => row.id).sort(), [...ids].sort())
    await everpost.stop(child)
    await temporal.stop()

    await temporal.start()
    peer = await startPeer({}, '127.0.0.1', port)
    await everpost.start()
    for (const id of ids) assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.equal(peer.messages.length, 10)
    const attempts = await readAttempts(everpost.sql, ids[0]!, 10)
    assert.deepEqual(attempts.map(({ number }) => number), attempts.map((_, i) => i + 1))
    assert.deepEqual([attempts[0]!.outcomes['0']?.status, attempts.at(-1)!.outcomes['0']?.status], ['deferred', 'delivered'])
    assert.match((await everpost.command('queue')).stdout, /The queue is empty/)
  } finally {
    await everpost.end()
    await temporal.end()
    await peer?.close()
  }
})
