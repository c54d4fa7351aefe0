import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('a worker killed in the midst of DATA: no dot was sent, so another sends the message, and it arrives once', async () => {
  const script: { stall?: boolean } = { stall: true }
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  try {
    const child = await everpost.start()
    // More than the sockets' buffers hold, so that the dot cannot be on its way.
    const raw = Buffer.concat([Buffer.from('Subject: big\r\n\r\n'), Buffer.alloc(30 * 1024 * 1024, `${'x'.repeat(70)}\r\n`), Buffer.from('\r\n')])
    const id = await everpost.send('a@partner.test', 'sender@example.test', raw)
    await until('the peer is in DATA', () => peer.commands.includes('DATA'))
    await everpost.stop(child, 'SIGKILL')
    assert.equal(peer.messages.length, 0)
    delete script.stall
    await everpost.start('worker')
    assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.equal(peer.messages.length, 1)
    const attempts = await readAttempts(everpost.sql, id, 10)
    // The first pass claims with its dot, so it has left no record; an attempt that had gone on as an activity is lost.
    assert.ok(attempts.slice(0, -1).every(({ lost, dotAt }) => lost && dotAt === null))
    assert.equal(attempts.filter((attempt) => attempt.dotAt !== null).length, 1)
  } finally {
    await everpost.end()
    await peer.close()
  }
})
