import assert from 'node:assert/strict'
import { test } from 'node:test'
import { localNextHop, nextHopKey, nextHopOf, parseNextHop } from './route.ts'

const rules = [
  { domain: 'Partner.test.', nextHop: '[127.0.0.1]:2626' },
  { domain: '*.internal.test', nextHop: 'relay.internal.test:2525' },
  { domain: '*.deep.internal.test', nextHop: '[deep.test]' },
]

test('the exact rule wins, then the longest wildcard, then the domain itself', () => {
  assert.deepEqual(nextHopOf('PARTNER.test', rules), { protocol: 'smtp', name: '127.0.0.1', kind: 'address', port: 2626 })
  assert.deepEqual(nextHopOf('a.internal.test', rules), { protocol: 'smtp', name: 'relay.internal.test', kind: 'mx', port: 2525 })
  assert.deepEqual(nextHopOf('a.deep.internal.test', rules), { protocol: 'smtp', name: 'deep.test', kind: 'host', port: 25 })
  assert.equal(nextHopOf('internal.test', rules).name, 'internal.test')
  assert.equal(nextHopOf('x.test', [...rules, { domain: '*', nextHop: '[hub.test]' }]).name, 'hub.test')
  const grown = [...rules]
  assert.equal(nextHopOf('x.test', grown).name, 'x.test')
  grown.push({ domain: 'x.test', nextHop: ' [hub.test] ' })
  assert.equal(nextHopOf('x.test', grown).name, 'hub.test', 'as dev mode adds its own at start')
})

test('an address literal goes to its address', () => {
  assert.deepEqual(nextHopOf('[127.0.0.1]', rules), { protocol: 'smtp', name: '127.0.0.1', kind: 'address', port: 25 })
})

test('keys tell next hops apart', () => {
  assert.equal(nextHopKey(parseNextHop('relay.test')), 'relay.test')
  assert.equal(nextHopKey(parseNextHop('[Relay.test.]:587')), '[relay.test]:587')
})

test('by LMTP: to a host and port, or to a Unix socket, whose name stays as it is written', () => {
  assert.deepEqual(parseNextHop('lmtp:[::1]:24'), { protocol: 'lmtp', name: '::1', kind: 'address', port: 24 })
  assert.deepEqual(parseNextHop('lmtp:[Mail.test]:25'), { protocol: 'lmtp', name: 'mail.test', kind: 'host', port: 25 })
  assert.deepEqual(parseNextHop('lmtp:unix:/run/Dovecot/lmtp'), { protocol: 'lmtp', name: '/run/Dovecot/lmtp', kind: 'socket', port: 0 })
  for (const text of ['lmtp:[::1]:24', 'lmtp:[mail.test]:25', 'lmtp:unix:/run/Dovecot/lmtp']) assert.equal(nextHopKey(parseNextHop(text)), text)
  assert.equal(localNextHop('a.test', { deliver: 'lmtp', path: '/run/Dovecot/lmtp' }), 'lmtp:unix:/run/Dovecot/lmtp')
})

test('what is no next hop is refused', () => {
  const lmtp = ['lmtp:', 'lmtp:a.test', 'lmtp:a.test:24', 'lmtp:[a.test]', 'lmtp:lmtp:[a]:24', 'lmtp:unix:run', 'lmtp:unix:/a b', `lmtp:unix:/${'a'.repeat(107)}`, 'unix:/run/a']
  for (const text of ['[a', 'a:b', 'a b', '', '.', '[.]', 'a:0', 'a:70000', ...lmtp]) assert.throws(() => parseNextHop(text), RangeError, text)
})
