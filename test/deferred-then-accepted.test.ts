import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('a recipient that is deferred is tried again until it is taken; the other is not sent to twice', async () => {
  const script = { rcpt: { 'later@partner.test': '451 4.7.1 come back later' } as Record<string, string> }
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  try {
    await everpost.start()
    const id = await everpost.send(['now@partner.test', 'later@partner.test'])
    await everpost.states(id, (states) => states[0] === 'delivered')
    script.rcpt = {}
    assert.deepEqual(await everpost.states(id), ['delivered', 'delivered'])
    assert.equal(peer.messages.length, 2)
    assert.equal(peer.commands.filter((line) => line === 'RCPT TO:<now@partner.test>').length, 1)
    const attempts = await readAttempts(everpost.sql, id, 10)
    assert.ok(attempts.length >= 2)
    assert.equal(attempts[0]?.outcomes['1']?.reply?.text, 'come back later')
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('recipients that are deferred together come back together, in one transaction', async () => {
  const script: { data?: string } = { data: '451 4.3.0 not now' }
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }], retry: { minimalBackoffTime: '5s', maximalBackoffTime: '5s' },
  })
  try {
    await everpost.start()
    const id = await everpost.send(Array.from({ length: 30 }, (_, i) => `r${i}@partner.test`))
    await everpost.states(id, (states) => states.length === 30)
    await until('the first attempt is over', async () => (await readAttempts(everpost.sql, id, 100)).some(({ endedAt }) => endedAt !== null))
    delete script.data
    await everpost.states(id)
    assert.equal(peer.messages.length, 1)
  } finally {
    await everpost.end()
    await peer.close()
  }
})
