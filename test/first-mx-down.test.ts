import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { startDnsServer } from '../smtp/testing-dns.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'

test('the first MX is down: the second takes the message in the same attempt', async () => {
  const peer = await startPeer({}, '127.0.0.3')
  const dns = await startDnsServer({
    'partner.test/MX': [{ preference: 20, exchange: 'second.partner.test' }, { preference: 10, exchange: 'first.partner.test' }],
    'first.partner.test/A': ['127.0.0.2'],
    'second.partner.test/A': ['127.0.0.3'],
  })
  const everpost = await prepareEverpost({ dns: { servers: [dns.server] }, routes: [{ domain: 'partner.test', nextHop: `partner.test:${peer.port}` }] })
  try {
    await everpost.start()
    const id = await everpost.send('friend@partner.test')
    assert.deepEqual(await everpost.states(id), ['delivered'])
    const attempts = await readAttempts(everpost.sql, id, 10)
    assert.equal(attempts.length, 1)
    assert.deepEqual(attempts[0]!.tries.map(({ host, address, phase }) => [host, address, phase]), [
      ['first.partner.test', '127.0.0.2', 'connect'], ['second.partner.test', '127.0.0.3', 'dot'],
    ])
    assert.match(attempts[0]!.tries[0]!.problem!, /cannot connect to first\.partner\.test\[127\.0\.0\.2\]: ECONNREFUSED/)
    assert.equal(peer.messages.length, 1)
  } finally {
    await everpost.end()
    await Promise.all([peer.close(), dns.close()])
  }
})
