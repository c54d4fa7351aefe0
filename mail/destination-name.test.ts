import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseDestination } from './destination-name.ts'
import { destinationOf } from './destination.ts'
import { localNextHop, nextHopKey, nextHopOf, parseNextHop } from './route.ts'

test('whatever a destination or a next hop is called can be typed', () => {
  const hosts = [['mx.a.test'], ['mx2.a.test', 'mx1.a.test'], ['a', 'b', 'c', 'd', 'e', 'f'], ['mail_1.a.test', '10.0.0.1'], ['aspmx.l.google.com']]
  const providers = [{ name: 'google', hosts: ['*.google.com'] }]
  const names = [
    ...['a.test', 'a.test:2525'].flatMap((hop) => hosts.map((each) => destinationOf(parseNextHop(hop), each, providers))),
    ...['[10.0.0.1]:2525', '[10.0.0.1]', '[::1]', '[2001:db8::1]:24', '[relay.test]', '[relay.test]:587', 'relay.test', 'relay.test:587', 'localhost'].map((hop) => nextHopKey(parseNextHop(hop))),
    ...['lmtp:[10.0.0.1]:25', 'lmtp:[::1]:24', 'lmtp:[dovecot.test]:24', 'lmtp:unix:/run/Dovecot/a,b'].map((hop) => nextHopKey(parseNextHop(hop))),
    ...['partner.test', 'xn--mller-kva.test', 'under_score.test', '[192.0.2.1]', '[ipv6:2001:db8::1]'].map((domain) => nextHopKey(nextHopOf(domain, []))),
    ...[{ deliver: 'maildir' }, { deliver: 'pipe' }].map((agent) => localNextHop('example.test', agent)),
    ...[...['127.0.0.1', '::1', 'dovecot.test'].map((host) => ({ host, port: 25 })), { path: '/run/Dovecot/lmtp' }].map((server) => localNextHop('example.test', { deliver: 'lmtp', ...server })),
  ]
  assert.deepEqual(names.map(parseDestination), names)
})

test('what is typed otherwise is read as it is called', () => {
  const typed: [string, string][] = [
    ['Partner.Test.', 'partner.test'], ['partner.test:25', 'partner.test'], ['m\u00fcller.test', 'xn--mller-kva.test'], ['[IPv6:2001:db8::1]', '[2001:db8::1]'],
    ['mx2.a.test,MX1.a.test', 'mx1.a.test,mx2.a.test'], ['f,e,d,c,b,a:2525', 'a,b,c,d,+2:2525'], ['Maildir:Example.test', 'maildir:example.test'],
    ['LMTP:[Dovecot.test]:24', 'lmtp:[dovecot.test]:24'], ['LMTP:unix:/run/LMTP', 'lmtp:unix:/run/LMTP'],
  ]
  for (const [text, name] of typed) assert.equal(parseDestination(text), name)
})

test('what can be no name is refused, and the refusal says what a name looks like', () => {
  const wrong = [
    '', ' ', 'a b', '*.partner.test', '*', 'ada@partner.test', 'https://partner.test', 'partner..test', '-partner.test', '.', ',', 'a,', 'a,b,+2', 'a,b,c,d,+0', 'a,b:0', 'a,b:99999', 'a,[b]',
    '[x', '[a b]', 'x:y', 'partner.test:99999', '[10.0.0.1]:0', 'maildir:', 'maildir:a b', 'lmtp:127.0.0.1:24', 'lmtp:[127.0.0.1]', 'lmtp:unix', 'lmtp:unix:run/lmtp',
    'lmtp:[a b]:24', 'lmtp:lmtp:[a.test]:24', `${'a'.repeat(64)}.test`, `${'a.'.repeat(130)}test`,
  ]
  const told = /no destination\. A name is a domain or a next hop \(partner\.test, /
  for (const text of wrong) assert.throws(() => parseDestination(text), (error) => error instanceof RangeError && told.test(error.message), text)
})
