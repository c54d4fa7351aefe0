// Which address of ours a connection comes from: 127.0.0.0/8 gives this machine many.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createDns } from './dns.ts'
import { checkSources, loadHopOptions } from './hop-options.ts'
import { createPool } from './pool.ts'
import { bindProblem, type Source } from './source.ts'
import { recipientsOf, startPeer, testRequest } from './testing.ts'
import { transfer } from './transfer.ts'

const dns = createDns({ servers: [], timeout: 500 })
const withoutIpv6 = (await bindProblem('::1')) ? 'this machine has no ::1' : false

async function clientsOf(address: string, sources: Source[]) {
  const pool = createPool({ idle: 10_000, age: 60_000, messages: 100, connections: 10 })
  const peer = await startPeer({}, address)
  const tries = []
  try {
    for (const source of sources) {
      const result = await transfer(testRequest(peer.port, { hosts: [address], source, recipients: recipientsOf('a@x.test') }), { dns, pool })
      tries.push(...result.tries.map(({ from, problem }) => problem ?? from ?? 'any'))
    }
    return { tries, clients: peer.clients }
  } finally {
    pool.close()
    await peer.close()
  }
}

test('a connection is made from the source address, kept for mail from there alone, and the record says which it was', async () => {
  const sources = [{ ipv4: '127.0.0.2' }, { ipv4: '127.0.0.3' }, {}, { ipv4: '127.0.0.2', ipv6: '::1' }]
  assert.deepEqual(await clientsOf('127.0.0.1', sources), { tries: ['127.0.0.2', '127.0.0.3', 'any', '127.0.0.2'], clients: ['127.0.0.2', '127.0.0.3', '127.0.0.1'] })
})

test('each family has a source of its own', { skip: withoutIpv6 }, async () => {
  assert.deepEqual(await clientsOf('::1', [{ ipv4: '127.0.0.2' }, { ipv6: '::1' }]), { tries: ['any', '::1'], clients: ['::1', '::1'] })
  const { tries, clients } = await clientsOf('::1', [{ ipv6: '2001:db8::1' }])
  assert.deepEqual(clients, [])
  assert.match(tries[0]!, /from the source address 2001:db8::1: this machine (has no such address|cannot use it)/)
})

test('an address that leads nowhere but to this machine itself is told as what it is, not as a fault of the host', async (t) => {
  const pool = createPool({ idle: 0, age: 0, messages: 1, connections: 1 })
  const result = await transfer(testRequest(25, { hosts: ['192.0.2.1'], source: { ipv4: '127.0.0.2' }, recipients: recipientsOf('a@x.test') }), { dns, pool })
  const { enhanced, text } = result.outcomes[0]!
  if (/ENETUNREACH/.test(text)) return t.skip('this machine has no route to anywhere')
  assert.deepEqual([enhanced, text], ['4.3.5', 'cannot connect to 192.0.2.1[192.0.2.1] from the source address 127.0.0.2: this machine cannot use it (EINVAL)'])
})

test('the source of a route goes over that of all, as a whole; local delivery by LMTP has none', () => {
  const all = { ipv4: '127.0.0.2', hostname: 'out.test' }
  const tls = { level: 'none', implicit: false, minVersion: 'TLSv1.2' } as const
  const options = loadHopOptions([{ domain: 'a.test', nextHop: 'a.test', source: { ipv6: '::1' } }, { domain: 'b.test', nextHop: '[b.test]', tls }], { source: all })
  const sources = ['a.test', '[b.test]', 'c.test', 'lmtp:[127.0.0.1]:24'].map((nextHop) => options(nextHop).source)
  assert.deepEqual(sources, [{ ipv6: '::1' }, all, all, {}])
  assert.equal(options('a.test').tls.level, 'may')
})

test('an address that this machine does not have is told at start, with the setting that names it', async () => {
  await checkSources([{ domain: 'a.test', nextHop: 'a.test', source: { ipv4: '127.0.0.9' } }], { ipv4: '127.0.0.2' })
  await assert.rejects(checkSources([], { ipv4: '192.0.2.1' }), /^Error: transfer\.source\.ipv4 192\.0\.2\.1: this machine has no such address/)
  const route = { domain: 'a.test', nextHop: 'a.test', source: { ipv4: '127.0.0.9', ipv6: '2001:db8::1' } }
  await assert.rejects(checkSources([route], {}), /routes\[0\]\.source\.ipv6 2001:db8::1: this machine/)
})
