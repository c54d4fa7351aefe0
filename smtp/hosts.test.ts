import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { after, test } from 'node:test'
import dnsPacket, { type Packet } from 'dns-packet'
import { createDns } from './dns.ts'
import { confirmNoData } from './dns-confirm.ts'
import { resolveHosts } from './hosts.ts'
import { type Odd, startDnsServer } from './testing-dns.ts'

const mx = (preference: number, exchange: string) => ({ preference, exchange })
const server = await startDnsServer({
  'ordered.test/MX': [mx(20, 'b.test'), mx(10, 'A.test'), mx(20, 'c.test')],
  'implicit.test/A': ['127.0.0.5'],
  'empty.test/TXT': [],
  'null.test/MX': [mx(0, '.')],
  'mixed.test/MX': [mx(0, '.'), mx(20, 'twice.test'), mx(10, 'once.test'), mx(30, 'Twice.test')],
  'both.test/A': ['127.0.0.5'],
  'both.test/AAAA': ['2001:db8::5'],
  'backup.test/MX': [mx(10, 'best.test'), mx(20, 'mx.example.test'), mx(30, 'worse.test')],
  'self.test/MX': [mx(10, 'mx.example.test'), mx(10, 'equal.test')],
  'broken.test/MX': 'SERVFAIL',
  'silent.test/MX': 'SILENT',
  'another.test/MX': { answers: [{ name: 'elsewhere.test', type: 'A', ttl: 0, data: '127.0.0.9' }] },
  '5.0.0.127.in-addr.arpa/PTR': ['Implicit.test'],
  '6.0.0.127.in-addr.arpa/PTR': ['implicit.test'],
  '5.2.0.192.in-addr.arpa/PTR': ['one.test', 'two.test', 'right.test'],
  '6.2.0.192.in-addr.arpa/PTR': ['one.test', 'two.test', 'three.test', 'right.test'],
  'right.test/A': ['192.0.2.5', '192.0.2.6'],
})
after(() => server.close())
const dns = createDns({ servers: [server.server], timeout: 200 })
const resolve = (name: string, kind: 'mx' | 'host' = 'mx') => resolveHosts({ name, kind, port: 25 }, dns, { hostname: 'MX.example.test' })

async function outcomeOf(name: string): Promise<[string, string]> {
  const found = await resolve(name)
  assert.equal(found.kind, 'outcome')
  return found.kind === 'outcome' ? [found.outcome.status, found.outcome.enhanced] : ['', '']
}

test('MXs come by preference, shuffled within it', async () => {
  const orders = new Set<string>()
  for (let i = 0; i < 40; i++) {
    const found = await resolve('ordered.test')
    if (found.kind === 'hosts') orders.add(found.hosts.join())
  }
  assert.deepEqual([...orders].sort(), ['a.test,b.test,c.test', 'a.test,c.test,b.test'])
})

test('a host that is listed twice is tried once, and a null MX beside others is passed over', async () => {
  assert.deepEqual(await resolve('mixed.test'), { kind: 'hosts', hosts: ['once.test', 'twice.test'] })
})

test('IPv4 comes before IPv6; an address and localhost are not asked for', async () => {
  assert.deepEqual(await dns.addresses('both.test'), { kind: 'found', records: ['127.0.0.5', '2001:db8::5'] })
  const asked = server.queries.length
  const found = await Promise.all(['192.0.2.1', '2001:db8::1', 'localhost'].map((host) => dns.addresses(host)))
  assert.deepEqual(found.map((each) => each.kind === 'found' && each.records), [['192.0.2.1'], ['2001:db8::1'], ['127.0.0.1', '::1']])
  assert.equal(server.queries.length, asked)
})

test('an MX that no host could be called defers, and is passed over where there is another', async () => {
  server.zone['odd-mx.test/MX'] = [mx(10, 'm\u00fcll.test'), mx(20, 'a b.test')]
  assert.deepEqual(await outcomeOf('odd-mx.test'), ['deferred', '4.4.3'])
  server.zone['odd-mx.test/MX'] = [mx(10, 'm\u00fcll.test'), mx(20, 'plain.test')]
  assert.deepEqual(await resolve('odd-mx.test'), { kind: 'hosts', hosts: ['plain.test'] })
})

test('without MX the domain itself is the host, if it has an address', async () => {
  assert.deepEqual(await resolve('implicit.test'), { kind: 'hosts', hosts: ['implicit.test'] })
  assert.deepEqual(await outcomeOf('empty.test'), ['bounced', '5.1.2'])
})

test('null MX and a domain that does not exist bounce', async () => {
  assert.deepEqual(await outcomeOf('null.test'), ['bounced', '5.1.10'])
  assert.deepEqual(await outcomeOf('nowhere.test'), ['bounced', '5.1.2'])
})

test('what DNS does not say defers', async () => {
  assert.deepEqual(await outcomeOf('broken.test'), ['deferred', '4.4.3'])
  assert.deepEqual(await outcomeOf('silent.test'), ['deferred', '4.4.3'])
})

test('whether IPv4 or IPv6 is not known, the domain is not known to have no address', async () => {
  for (const type of ['A', 'AAAA']) {
    const name = `no-${type.toLowerCase()}.test`
    Object.assign(server.zone, { [`${name}/TXT`]: [], [`${name}/${type}`]: 'SERVFAIL' })
    assert.deepEqual(await outcomeOf(name), ['deferred', '4.4.3'], type)
  }
})

test('of a domain with hundreds of MXs the best twenty are hosts', async () => {
  server.zone['many.test/MX'] = Array.from({ length: 25 }, (_, i) => mx(25 - i, `mx${25 - i}.test`))
  const found = await resolve('many.test')
  assert.deepEqual(found.kind === 'hosts' && found.hosts, Array.from({ length: 20 }, (_, i) => `mx${i + 1}.test`))
})

test('an empty answer that was cut off, or that is no answer to our question, proves nothing', async () => {
  const confirm = async (answer: Odd) => {
    server.zone['odd.test/MX'] = answer
    return await confirmNoData([server.server], 200, 'odd.test', 'MX')
  }
  assert.deepEqual([await confirm({}), await confirm({ cutOff: true }), await confirm({ idOff: 1 })], [null, 'an answer that was cut off', 'no answer'])
})

test('what is not the reply is passed over, and one of several servers that can say it is enough', async () => {
  const socket = createSocket('udp4').on('message', (packet, from) => {
    const query = dnsPacket.decode(packet)
    const [question] = query.questions!
    const something: Packet = { ...query, type: 'response', answers: [{ name: 'x.test', type: 'A', data: '192.0.2.1' }] }
    const replies: Packet[] = [
      { ...something, type: 'query' }, { ...something, id: query.id! ^ 1 }, { ...something, questions: [] }, { ...something, questions: [{ ...question!, type: 'A' }] },
      { ...something, questions: [{ ...question!, name: 'x.test' }] }, { ...query, type: 'response', questions: [{ ...question!, name: question!.name.toUpperCase() }] },
    ]
    for (const reply of [Buffer.from('nonsense'), ...replies.map((each) => dnsPacket.encode(each))]) socket.send(reply, from.port, from.address)
  })
  after(() => socket.close())
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  const forged = `127.0.0.1:${socket.address().port}`
  Object.assign(server.zone, { 'none.test/TXT': [], 'silent.test/MX': 'SILENT', 'down.test/MX': 'SERVFAIL' })
  assert.equal(await confirmNoData([forged], 500, 'none.test', 'MX'), null)
  for (const name of ['silent.test', 'down.test']) assert.equal(await confirmNoData([server.server, forged], 200, name, 'MX'), null, name)
  assert.equal(await confirmNoData([], 200, 'none.test', 'MX'), 'no server')
})

test('an answer with any other response code, or to another question, is no empty answer: it defers', async () => {
  for (let rcode = 1; rcode < 16; rcode++) {
    if (rcode === 3) continue
    server.zone['odd.test/MX'] = { rcode }
    assert.deepEqual(await outcomeOf('odd.test'), ['deferred', '4.4.3'], `response code ${rcode}`)
    // The same where the MX records are surely none, and the address is asked for.
    Object.assign(server.zone, { 'host.test/TXT': [], 'host.test/A': { rcode }, 'host.test/AAAA': { rcode } })
    assert.deepEqual(await outcomeOf('host.test'), ['deferred', '4.4.3'], `response code ${rcode}`)
  }
  assert.deepEqual(await outcomeOf('another.test'), ['deferred', '4.4.3'])
})

test('an alias that leads to nothing is an empty answer', async () => {
  for (const type of ['CNAME', 'DNAME'] as const) {
    const alias: Odd = { answers: [{ name: 'dangling.test', type, ttl: 0, data: 'away.test' }] }
    for (const asked of ['MX', 'A', 'AAAA']) server.zone[`dangling.test/${asked}`] = alias
    assert.deepEqual(await outcomeOf('dangling.test'), ['bounced', '5.1.2'], type)
  }
})

test('our own name among the MXs is cut, with all that are no better', async () => {
  assert.deepEqual(await resolve('backup.test'), { kind: 'hosts', hosts: ['best.test'] })
  assert.deepEqual(await outcomeOf('self.test'), ['bounced', '5.4.6'])
})

test('a host is used as it is', async () => {
  assert.deepEqual(await resolve('null.test', 'host'), { kind: 'hosts', hosts: ['null.test'] })
})

test('a reverse name counts only when it leads back', async () => {
  assert.equal(await dns.reverse('127.0.0.5'), 'implicit.test')
  assert.equal(await dns.reverse('127.0.0.6'), null)
  assert.equal(await dns.reverse('127.0.0.7'), null)
  // Of several names the first three are tried.
  assert.deepEqual([await dns.reverse('192.0.2.5'), await dns.reverse('192.0.2.6')], ['right.test', null])
})

test('a changed answer is seen at once', async () => {
  server.zone['implicit.test/MX'] = [mx(5, 'now.test')]
  assert.deepEqual(await resolve('implicit.test'), { kind: 'hosts', hosts: ['now.test'] })
})
