import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import { until } from './support/until.ts'
import { prepareEverpost } from './support/everpost.ts'

test('a host that takes two recipients at a time gets all in one attempt; a worker killed half-way repeats none that was taken', async () => {
  const script: { rcptMost: number; dot?: string } = { rcptMost: 2 }
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({ routes: [{ domain: '*', nextHop: `[127.0.0.1]:${peer.port}` }] })
  const recipients = ['a', 'b', 'c', 'd', 'e'].map((name) => `${name}@partner.test`)
  try {
    const child = await everpost.start()
    const id = await everpost.send(recipients)
    assert.deepEqual(await everpost.states(id), recipients.map(() => 'delivered'))
    assert.deepEqual([(await readAttempts(everpost.sql, id, 10)).length, peer.messages.length, peer.connections], [1, 3, 1])

    // The second transaction of the next message gets no reply.
    Object.defineProperty(script, 'dot', { get: () => (peer.messages.length === 5 ? 'silent' : '250 2.0.0 taken') })
    const second = await everpost.send(recipients)
    await until('the second transaction waits for its reply', () => peer.messages.length === 5)
    await everpost.stop(child, 'SIGKILL')
    await everpost.start('worker')
    assert.deepEqual(await everpost.states(second), recipients.map(() => 'delivered'))
    const count = (name: string) => peer.commands.filter((line) => line === `RCPT TO:<${name}@partner.test>`).length
    // Once for the first message; for the second a and b once more, c and d also before and after the kill.
    assert.deepEqual([count('a'), count('b')], [2, 2])
  } finally {
    await everpost.end()
    await peer.close()
  }
})
