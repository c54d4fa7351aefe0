import assert from 'node:assert/strict'
import { isIP } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { readProxyHeader } from '../../ingress/proxy-protocol.ts'
import { fuzz, octets, text } from './budget.ts'

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
/** No header of either version is longer than this, so whoever has sent more has been judged. */
const longest = 4096

const words = fc.array(fc.oneof(
  fc.constantFrom('PROXY', 'PROXY TCP4', 'PROXY TCP6', 'UNKNOWN', 'TCP4', '192.0.2.1', '2001:db8::1', '::ffff:192.0.2.1', '25', '65536', '-1', '', 'PROXY UNKNOWN'), text(8),
), { maxLength: 7 }).map((parts) => Buffer.from(`${parts.join(' ')}`, 'latin1'))
const version1 = fc.tuple(words, fc.constantFrom('\r\n', '\n', '\r', ''), octets(20)).map(([line, end, rest]) => Buffer.concat([line, Buffer.from(end), rest]))
const version2 = fc.tuple(fc.nat(255), fc.nat(255), fc.oneof(fc.nat(60), fc.nat(65535)), octets(80)).map(([command, family, length, rest]) =>
  Buffer.concat([signature, Buffer.from([command, family, length >> 8, length & 255]), rest]))
const right2 = fc.tuple(fc.constantFrom(0x20, 0x21), fc.constantFrom(0x11, 0x21, 0x31, 0x00), octets(120)).map(([command, family, rest]) =>
  Buffer.concat([signature, Buffer.from([command, family, 0, rest.length]), rest, Buffer.from('EHLO c.test\r\n')]))

test('PROXY: any octets are a header, none, or the beginning of one; a verdict stands whatever follows, and an address is one', async () => {
  await fuzz(fc.property(fc.oneof(octets(), version1, version2, right2), fc.nat(500), octets(40), (whole, cut, more) => {
    const found = readProxyHeader(whole)
    const before = readProxyHeader(whole.subarray(0, cut % (whole.length + 1)))
    if (before !== 'incomplete') assert.deepEqual(before, found, 'what was decided on less stays decided')
    if (found === 'incomplete') {
      assert.ok(whole.length < longest)
      assert.notEqual(readProxyHeader(Buffer.concat([whole, Buffer.alloc(longest + 1, 'x')])), 'incomplete', 'nobody is waited for without end')
      return
    }
    assert.deepEqual(readProxyHeader(Buffer.concat([whole, more])), found)
    if (found === 'wrong') return
    assert.ok(found.length <= whole.length && found.length <= longest)
    assert.equal(readProxyHeader(whole.subarray(0, found.length - 1)), 'incomplete')
    if (found.client) assert.ok(isIP(found.client.address) > 0 && found.client.port >= 0 && found.client.port <= 65535, JSON.stringify(found))
  }))
})
