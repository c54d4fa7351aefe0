import assert from 'node:assert/strict'
import { test } from 'node:test'
import { canonicalDomain, domainOf, literalAddress, splitAddress, unquotedLocalPart } from './address.ts'

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
