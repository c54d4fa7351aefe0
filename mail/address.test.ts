import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { canonicalDomain, domainOf, literalAddress, parsePath, splitAddress, unquotedLocalPart, withoutTag } from './address.ts'

test('the domain begins after the last @', () => {
  assert.deepEqual(splitAddress('"a@b"@example.test'), { localPart: '"a@b"', domain: 'example.test' })
  assert.deepEqual(splitAddress('postmaster'), { localPart: 'postmaster', domain: '' })
})

test('domains compare in lower case, as A-labels, without a trailing dot', () => {
  assert.equal(domainOf('x@BÜCHER.Example.'), 'xn--bcher-kva.example')
  assert.equal(canonicalDomain('xn--bcher-kva.example'), 'xn--bcher-kva.example')
  assert.equal(canonicalDomain('[IPv6:::1]'), '[ipv6:::1]')
})

test('address literals hold an address or nothing', () => {
  assert.equal(literalAddress('[127.0.0.1]'), '127.0.0.1')
  assert.equal(literalAddress('[IPv6:2001:db8::1]'), '2001:db8::1')
  assert.equal(literalAddress('[relay]'), null)
})

test('a quoted local part loses its quotes and backslashes', () => {
  assert.equal(unquotedLocalPart('"a \\"b\\""'), 'a "b"')
  assert.equal(unquotedLocalPart('"'), '"')
})

test('a subaddress is parted from its user', () => {
  assert.deepEqual(['alice+news', 'alice', '+alice'].map((local) => withoutTag(local, '+')), ['alice', 'alice', '+alice'])
  assert.equal(withoutTag('alice+news', ''), 'alice+news')
})

const paths: [string, string | null][] = [
  ['<>', ''], ['<postmaster>', 'postmaster'], ['<PostMaster>', 'PostMaster'], ['<a@b>', 'a@b'], ['<a.b+c=d/e@x-y.test>', 'a.b+c=d/e@x-y.test'],
  ['<"a b"@x.test>', '"a b"@x.test'], ['<"a@b"@x.test>', '"a@b"@x.test'], ['<"a\\"b\\\\"@x.test>', '"a\\"b\\\\"@x.test'], ['<""@x.test>', '""@x.test'],
  ['<@a.test,@b.test:c@d.test>', 'c@d.test'], ['<a@[127.0.0.1]>', 'a@[127.0.0.1]'], ['<a@[IPv6:2001:db8::1]>', 'a@[IPv6:2001:db8::1]'],
  ['<é@bücher.example>', 'é@bücher.example'], ['<a@xn--bcher-kva.example>', 'a@xn--bcher-kva.example'], ['<a@my_host.test>', 'a@my_host.test'],
  [`<${'x'.repeat(255)}@b>`, `${'x'.repeat(255)}@b`], [`<${'x'.repeat(256)}@b>`, null], [`<${'é'.repeat(128)}@b>`, null], [`<a@${'x'.repeat(64)}.test>`, null],
  [`<a@${'x.'.repeat(127)}x>`, `a@${'x.'.repeat(127)}x`], [`<a@${'x.'.repeat(128)}x>`, null],
  ['a@b', null], ['<a@b', null], ['<a>', null], ['<a@>', null], ['<@b>', null], ['<a..b@c>', null], ['<.a@c>', null], ['<a.@c>', null], ['<a b@c>', null], ['<a@b@c>', null],
  ['<a@b..c>', null], ['<a@b.>', null], ['<a@-b>', null], ['<a@b->', null], ['<"a@b>', null], ['<"a"b@c>', null], ['<a@[1.2.3]>', null], ['<a@[256.1.1.1]>', null],
  ['<a@[::1]>', null], ['<a@[IPv6:1.2.3.4]>', null], ['<a@[IPv6:::g]>', null], ['<a@[relay]>', null], ['<@a:b>', null], ['<a,b@c>', null], ['<a@b\r>', null], ['<a\u0085b@c>', null],
]
for (const [text, address] of paths) {
  test(`the path ${text.slice(0, 60)} is ${address === null ? 'none' : 'read'}`, () => {
    const path = parsePath(text)
    assert.equal('problem' in path ? null : path.address, address)
  })
}

test('a path that was read reads the same again, whatever follows it; and no text makes the reader fail or linger', () => {
  const near = fc.array(fc.constantFrom('<', '>', '@', '"', '\\', '.', 'a', '-', ' ', '[', ']', 'IPv6:', '1', ':', ',', 'é', 'postmaster', 'x'.repeat(40)), { maxLength: 30 })
  fc.assert(fc.property(fc.oneof(near.map((parts) => parts.join('')), near.map((parts) => `<${parts.join('')}@b.test>`), fc.string({ unit: 'binary', maxLength: 300 })), (text) => {
    const path = parsePath(text)
    if ('problem' in path) return
    assert.ok(text.endsWith(path.rest))
    assert.deepEqual(parsePath(`<${path.address}> SIZE=1`), { address: path.address, rest: ' SIZE=1' })
    const { localPart, domain } = splitAddress(path.address)
    assert.ok(Buffer.byteLength(localPart) <= 255 && Buffer.byteLength(domain) <= 255)
  }), { numRuns: 5000 })
  // Ten times the text takes some ten times as long, not a hundred times. Of several measures the shortest, since the machine may be busy.
  const shortest = (text: string) => Math.min(...Array.from({ length: 7 }, () => {
    const begun = performance.now()
    parsePath(text)
    return performance.now() - begun
  }))
  for (const piece of ['a', '"\\a', 'a.', '@a,', 'a@', '\\"']) {
    const [few, many] = [2000, 20_000].map((times) => shortest(`<${piece.repeat(times)}`)) as [number, number]
    assert.ok(many < 40 * Math.max(few, 0.1), `${piece}: ${few} and ${many} ms`)
  }
})

test('what the URL parser would read as something else is no domain, and stays as it is', () => {
  for (const domain of ['\u00ad.\\', 'é/x', 'é?x', 'é#x', 'é:25', 'é%41', 'a@é']) assert.equal(canonicalDomain(domain), domain)
  assert.equal(canonicalDomain('bücher.test。'), 'xn--bcher-kva.test')
})
