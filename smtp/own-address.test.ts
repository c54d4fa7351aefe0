import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { leadsToUs } from './own-address.ts'

const reached = (listener: string, ...addresses: string[]) => addresses.filter((address) => leadsToUs(address, 25, [{ address: listener, port: 25 }]))

test('a listener on one address is reached by that address alone, however it is written, by the address of no host, and one on localhost by both of its', () => {
  const all = ['127.0.0.1', '127.0.0.2', '::ffff:127.0.0.1', '::ffff:7f00:1', '0.0.0.0', '::', '::1', '192.0.2.1']
  assert.deepEqual(reached('127.0.0.1', ...all), ['127.0.0.1', '::ffff:127.0.0.1', '::ffff:7f00:1', '0.0.0.0', '::', '::1'])
  assert.deepEqual(reached('::1', ...all), ['127.0.0.1', '::ffff:127.0.0.1', '::ffff:7f00:1', '0.0.0.0', '::', '::1'])
  assert.deepEqual(reached('2001:db8::1', '2001:DB8:0:0:0:0:0:1', '2001:db8::2'), ['2001:DB8:0:0:0:0:0:1'])
})

test('a listener on all addresses is reached by each of this machine', () => {
  const ours = Object.values(networkInterfaces()).flatMap((of) => of ?? [])
  const four = ours.filter(({ family }) => family === 'IPv4').map(({ address }) => address)
  assert.deepEqual(reached('0.0.0.0', ...four, '127.7.7.7', '192.0.2.1', '2001:db8::1'), [...four, '127.7.7.7'])
  assert.deepEqual(reached('::', ...ours.map(({ address }) => address), '127.7.7.7', '192.0.2.1'), [...ours.map(({ address }) => address), '127.7.7.7'])
})

test('another port is not ours, and neither is what listens on no address', () => {
  assert.equal(leadsToUs('127.0.0.1', 25, [{ address: '127.0.0.1', port: 2525 }, { address: '127.0.0.1' }, { address: 'mx.example.test', port: 25 }]), false)
  assert.equal(leadsToUs('127.0.0.1', 25, []), false)
})
