import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Script, startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('the time of the fast lane ends between the mark for the dot and the dot: nothing went out, so nothing is lost and the next attempt follows at once', async () => {
  const script: Script = { data: 'silent' }
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({
    // With a lease of minutes the test would not end in time if it had to be waited for.
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }], transfer: { fastLane: '2s' }, worker: { lease: '10m' },
  })
  try {
    await everpost.start()
    const id = await everpost.send('x@partner.test')
    await until('DATA is said', () => peer.commands.includes('DATA'))
    // The mark is made and not yet seen to be made while the time runs out.
    await everpost.sql.begin(async (tx) => {
      await tx`select from recipients where message_id = ${id} for update`
      script.data = '354 go on'
      peer.each('354 go on')
      await sleep(3000)
    })
    assert.deepEqual(await everpost.states(id), ['delivered'])
    const attempts = await readAttempts(everpost.sql, id, 9)
    assert.deepEqual(attempts.map(({ lost, dotAt, endedAt }) => [lost, dotAt !== null, endedAt !== null]), [[false, false, true], [false, true, true]])
    assert.deepEqual(peer.taken, ['x@partner.test'])
  } finally {
    await everpost.end()
    await peer.close()
  }
})
