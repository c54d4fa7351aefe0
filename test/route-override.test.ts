import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { startDnsServer } from '../smtp/testing-dns.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

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

test('a next hop of the operator that is not in DNS keeps mail waiting and says what to mend, and does not blame the sender', async () => {
  const peer = await startPeer()
  const dns = await startDnsServer({ 'null.test/MX': [{ preference: 0, exchange: '.' }] })
  const everpost = await prepareEverpost({
    dns: { servers: [dns.server] }, routes: [{ domain: '*', nextHop: `relay.typo.test:${peer.port}` }, { domain: 'b.test', nextHop: 'null.test' }],
  })
  try {
    await everpost.start()
    const id = await everpost.send(['x@a.test', 'x@b.test'])
    await everpost.states(id, (states) => states.every((state) => state === 'queued'))
    const told = await until('both were tried', async () => {
      const outcomes = (await readAttempts(everpost.sql, id, 10)).flatMap((attempt) => Object.entries(attempt.outcomes))
      return new Set(outcomes.map(([n]) => n)).size === 2 && Object.fromEntries(outcomes.map(([n, { status, enhanced, text }]) => [n, `${status} ${enhanced} ${text}`]))
    })
    assert.match(told['0']!, /^deferred 4\.3\.5 domain relay\.typo\.test does not exist, .*mend the route for \* in the settings$/)
    assert.match(told['1']!, /^deferred 4\.3\.5 domain null\.test accepts no mail \(null MX\), .*mend the route for b\.test/)

    await everpost.command('reroute', id, '--to', 'nowhere.test')
    await until('that is tried, too', async () => {
      const outcomes = (await readAttempts(everpost.sql, id, 50)).flatMap((attempt) => Object.values(attempt.outcomes))
      return outcomes.some(({ text }) => /^domain nowhere\.test .*reroute/.test(text))
    })
    await everpost.command('reroute', id, '--to', `[127.0.0.1]:${peer.port}`)
    assert.deepEqual(await everpost.states(id), ['delivered', 'delivered'])
  } finally {
    await everpost.end()
    await Promise.all([peer.close(), dns.close()])
  }
})
