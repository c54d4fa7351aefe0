import assert from 'node:assert/strict'
import { test } from 'node:test'
import { settingsSchema } from '../settings/schema.ts'
import { createLimits } from './limits.ts'
import { clientOf, inNetworks, plainAddress } from './networks.ts'

const { limits: settings } = settingsSchema.parse({ limits: { clientMessages: 10, userMessages: 2, clientConnections: 2 } })

test('a rate holds over any minute, not only from one full minute to the next', () => {
  let now = 59_000
  const limits = createLimits(settings, () => false, () => now)
  for (let i = 0; i < 10; i++) assert.ok(limits.message('192.0.2.1', null))
  assert.ok(!limits.message('192.0.2.1', null))
  assert.ok(limits.message('192.0.2.2', null), 'another client has a count of its own')
  now = 61_000
  assert.ok(limits.message('192.0.2.1', null), 'a little of the minute before is over')
  assert.ok(!limits.message('192.0.2.1', null))
  now = 179_999
  for (let i = 0; i < 10; i++) assert.ok(limits.message('192.0.2.1', null))
})

test('a user is counted wherever they come from, and instead of the client', () => {
  const limits = createLimits(settings, () => true, () => 0)
  assert.deepEqual([1, 2, 3].map((i) => limits.message(`192.0.2.${i}`, 'alice')), [true, true, false])
  for (let i = 0; i < 50; i++) assert.ok(limits.message('192.0.2.1', null), 'an exempt client is not counted')
  for (let i = 0; i < 3; i++) assert.ok(limits.connected('192.0.2.1'), 'nor are its connections')
})

test('recipients are counted apart from messages, of clients and of users; 0 bounds nothing', () => {
  const { limits: own } = settingsSchema.parse({ limits: { clientMessages: 1, clientRecipients: 2, userMessages: 3, userRecipients: 4, clientConnections: 0 } })
  const limits = createLimits(own, () => false, () => 0)
  const most = (take: () => boolean) => Array.from({ length: 9 }, take).filter((taken) => taken).length
  assert.deepEqual([most(() => limits.message('192.0.2.1', null)), most(() => limits.recipient('192.0.2.1', null))], [1, 2])
  assert.deepEqual([most(() => limits.message('192.0.2.1', 'u')), most(() => limits.recipient('192.0.2.1', 'u'))], [3, 4])
  assert.equal(most(() => limits.connected('192.0.2.1')), 9)
})

test('failed AUTH is answered later each time, up to ten seconds, and is forgotten', () => {
  let now = 0
  const limits = createLimits(settings, () => false, () => now)
  assert.deepEqual(Array.from({ length: 8 }, () => limits.authFailed('192.0.2.1')), [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000])
  assert.deepEqual([limits.authFailed('2001:db8::1'), limits.authFailed('2001:db8::2')], [250, 500], 'a /64 is one client')
  now = 3_000_000
  assert.equal(limits.authFailed('192.0.2.1'), 250)
})

test('an IPv6 /64 is one client', () => {
  const limits = createLimits(settings, () => false)
  assert.deepEqual(['2001:db8::1', '2001:db8:0:0:ffff::2', '2001:db8::3', '2001:db8:0:1::1'].map((each) => limits.connected(each)), [true, true, false, true])
  limits.disconnected('2001:db8::1')
  assert.ok(limits.connected('2001:db8::4'))
  assert.deepEqual(['::1', '2001:0DB8::', '1:2:3:4:5:6:7:8', 'fe80::1%eth0', '64:ff9b::192.0.2.1', '192.0.2.1'].map(clientOf), [
    '0:0:0:0::/64', '2001:db8:0:0::/64', '1:2:3:4::/64', 'fe80:0:0:0::/64', '64:ff9b:0:0::/64', '192.0.2.1',
  ])
})

test('an address has one spelling', () => {
  for (const mapped of ['::ffff:192.0.2.1', '::FFFF:c000:201', '0:0:0:0:0:ffff:c000:0201']) assert.equal(plainAddress(mapped), '192.0.2.1', mapped)
  assert.deepEqual(['::ffff:0:1', '2001:DB8:0::1', '::1', '1:2:3:4:5:6:7:8', '::1:ffff:1:2', 'fe80::1%eth0', '192.0.2.1', 'x'].map(plainAddress), [
    '0.0.0.1', '2001:db8::1', '::1', '1:2:3:4:5:6:7:8', '::1:ffff:1:2', 'fe80::1%eth0', '192.0.2.1', 'x',
  ])
})

test('a network holds its addresses however they are written, and nothing that is none', () => {
  const isIn = inNetworks(['192.0.2.0/24', '198.51.100.7', '2001:db8::/32'])
  for (const address of ['192.0.2.255', '::ffff:192.0.2.1', '::ffff:c000:201', '198.51.100.7', '2001:DB8:1::1']) assert.ok(isIn(address), address)
  for (const address of ['192.0.3.0', '198.51.100.8', '2001:db9::1', '', 'x', 'fe80::1%eth0']) assert.ok(!isIn(address), address)
})

test('many clients cost no memory once they are quiet', () => {
  let now = 0
  const limits = createLimits(settings, () => false, () => now)
  const before = process.memoryUsage().heapUsed
  for (let i = 0; i < 400_000; i++) {
    now += 10
    limits.message(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, null)
  }
  assert.ok(process.memoryUsage().heapUsed - before < 60 * 1024 * 1024)
})
