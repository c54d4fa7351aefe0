import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { startDnsServer } from '../smtp/testing-dns.ts'
import { prepareEverpost } from './support/everpost.ts'

test('routes: the exact domain before the wildcard before the default; brackets suppress the MX look-up', async () => {
  const [exact, wild, other] = [await startPeer(), await startPeer({}, '127.0.0.2'), await startPeer({}, '127.0.0.3')]
  const dns = await startDnsServer({ 'relay.test/A': ['127.0.0.2'], 'relay.test/MX': [{ preference: 1, exchange: 'wrong.test' }] })
  const everpost = await prepareEverpost({
    dns: { servers: [dns.server] },
    routes: [
      { domain: '*', nextHop: `[127.0.0.3]:${other.port}` },
      { domain: '*.internal.test', nextHop: `[relay.test]:${wild.port}` },
      { domain: 'a.internal.test', nextHop: `[127.0.0.1]:${exact.port}` },
    ],
  })
  try {
    await everpost.start()
    const id = await everpost.send(['x@a.internal.test', 'x@b.internal.test', 'x@B.internal.test', 'x@internal.test', 'x@elsewhere.test'])
    await everpost.states(id, (states) => states.every((state) => state === 'delivered'))
    const recipients = (peer: typeof exact) => peer.commands.filter((line) => line.startsWith('RCPT')).map((line) => line.slice(9, -1))
    assert.deepEqual(recipients(exact), ['x@a.internal.test'])
    assert.deepEqual(recipients(wild).map((path) => path.toLowerCase()).filter((path, i, all) => all.indexOf(path) === i), ['x@b.internal.test'])
    assert.deepEqual(recipients(other).sort(), ['x@elsewhere.test', 'x@internal.test'])
    assert.deepEqual([exact, wild, other].map((peer) => peer.messages.length), [1, 1, 1])
    assert.equal(dns.queries.some((query) => query.endsWith('/MX')), false)
  } finally {
    await everpost.end()
    await Promise.all([exact.close(), wild.close(), other.close(), dns.close()])
  }
})
