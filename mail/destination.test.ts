import assert from 'node:assert/strict'
import { test } from 'node:test'
import { builtInProviders, destinationOf } from './destination.ts'
import { parseNextHop } from './route.ts'

const name = (hop: string, hosts: string[]) => destinationOf(parseNextHop(hop), hosts, builtInProviders)

test('domains at one provider are one destination, others go by their MX set, whatever its order', () => {
  assert.equal(name('a.test', ['a-test.mail.protection.outlook.com']), name('b.test', ['b-test.mail.protection.outlook.com']))
  assert.equal(name('a.test', ['aspmx.l.google.com', 'aspmx2.googlemail.com']), 'google')
  assert.equal(name('a.test', ['mx2.host.test', 'mx1.host.test']), name('b.test', ['mx1.host.test', 'mx2.host.test']))
  assert.equal(name('a.test', ['aspmx.l.google.com', 'mx.a.test']), 'aspmx.l.google.com,mx.a.test')
  assert.equal(name('a.test:2525', ['mx.a.test']), 'mx.a.test:2525')
  assert.equal(name('a.test:2525', ['aspmx.l.google.com']), 'google:2525')
  assert.equal(name('[127.0.0.1]:2626', ['127.0.0.1']), '[127.0.0.1]:2626')
  assert.equal(name('a.test', ['1', '2', '3', '4', '5', '6']), '1,2,3,4,+2')
  assert.equal(name('a.test', ['4', '3', '2', '1']), '1,2,3,4')
  const inOrder = ['mx2.host.test', 'mx1.host.test']
  name('a.test', inOrder)
  assert.deepEqual(inOrder, ['mx2.host.test', 'mx1.host.test'], 'they are tried in their own order')
})
