// Which addresses of a host are tried, by family.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { createDns } from './dns.ts'
import { addressesToTry, bothFamilies, type Family } from './families.ts'
import { loadHopOptions } from './hop-options.ts'
import { createPool } from './pool.ts'
import { bindProblem } from './source.ts'
import { recipientsOf, startPeer, testRequest } from './testing.ts'
import { startDnsServer } from './testing-dns.ts'
import { transfer, type TransferRequest } from './transfer.ts'

const server = await startDnsServer({ 'both.test/A': ['127.0.0.2'], 'both.test/AAAA': ['::1'], 'six.test/AAAA': ['::1'], 'four.test/A': ['127.0.0.2'], 'none.test/TXT': [] })
const pool = createPool({ idle: 0, age: 0, messages: 1, connections: 1 })
after(async () => {
  pool.close()
  await server.close()
})

async function attempt(port: number, hosts: string[], addressFamilies: Family[], change: Partial<TransferRequest> = {}) {
  const request = testRequest(port, { hosts, addressFamilies, recipients: recipientsOf('a@x.test'), ...change })
  const { outcomes, tries } = await transfer(request, { dns: createDns({ servers: [server.server], timeout: 500 }), pool })
  const { status, enhanced, text } = outcomes[0]!
  return { outcome: `${status} ${enhanced}`, text, tried: tries.map(({ address }) => address) }
}

test('the order of families is that of the settings, and one that is left out is not tried', { skip: (await bindProblem('::1')) ? 'this machine has no ::1' : false }, async () => {
  const peer = await startPeer({ greeting: '421 4.3.2 later' }, '::')
  try {
    const cases: [Family[], string[]][] = [[['ipv4', 'ipv6'], ['127.0.0.2', '::1']], [['ipv6', 'ipv4'], ['::1', '127.0.0.2']], [['ipv4'], ['127.0.0.2']], [['ipv6'], ['::1']]]
    for (const [families, tried] of cases) {
      peer.clients.length = 0
      assert.deepEqual((await attempt(peer.port, ['both.test'], families)).tried, tried)
      assert.deepEqual(peer.clients.map((client) => client.startsWith('::ffff:')), tried.map((address) => address === '127.0.0.2'))
    }
  } finally {
    await peer.close()
  }
})

test('a host whose addresses are all of a family that is left out defers, and says so; the next host is tried', async () => {
  const peer = await startPeer({}, '127.0.0.2')
  try {
    const { outcome, text, tried } = await attempt(peer.port, ['six.test'], ['ipv4'])
    assert.deepEqual([outcome, tried], ['deferred 4.4.4', [null]])
    assert.equal(text, 'of six.test only such addresses as ::1 are known, and addressFamilies in the settings leaves their family out')
    assert.equal((await attempt(peer.port, ['::1'], ['ipv4'])).outcome, 'deferred 4.4.4')
    assert.match((await attempt(peer.port, ['none.test'], ['ipv4'])).text, /^no address for none\.test/)
    assert.deepEqual((await attempt(peer.port, ['six.test', 'four.test'], ['ipv4'])).outcome, 'delivered 2.0.0')
    // Mail that would come back to us is not kept waiting for a family that will never be allowed.
    assert.equal((await attempt(peer.port, ['six.test'], ['ipv4'], { isOurs: () => true })).outcome, 'bounced 5.4.6')
  } finally {
    await peer.close()
  }
})

test('many addresses of one family leave a place for the other', () => {
  const [four, six] = [['192.0.2.1', '192.0.2.2', '192.0.2.3'], ['2001:db8::1', '2001:db8::2', '2001:db8::3']]
  const mixed = four.flatMap((address, i) => [address, six[i]!])
  assert.deepEqual(addressesToTry(mixed, ['ipv6', 'ipv4'], 3), [six[0], six[1], four[0]])
  assert.deepEqual(addressesToTry(mixed, ['ipv4', 'ipv6'], 5), [...four, six[0], six[1]])
  assert.deepEqual(addressesToTry(mixed, ['ipv4'], 2), [four[0], four[1]])
  assert.deepEqual(addressesToTry(six, bothFamilies, 2), [six[0], six[1]])
})

test('the families of a route go over those of all', () => {
  const options = loadHopOptions([{ domain: 'a.test', nextHop: 'a.test', addressFamilies: ['ipv4'] }, { domain: 'b.test', nextHop: 'b.test' }], { addressFamilies: ['ipv6', 'ipv4'] })
  assert.deepEqual(['a.test', 'b.test', 'c.test'].map((nextHop) => options(nextHop).addressFamilies.join()), ['ipv4', 'ipv6,ipv4', 'ipv6,ipv4'])
  assert.deepEqual(loadHopOptions([])('a.test').addressFamilies, ['ipv4', 'ipv6'])
})
