import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { ensureCertificate } from '../dev/certificate.ts'
import { addUser } from '../store/users.ts'
import { plainAddress } from './networks.ts'
import { nobodysHash } from './password.ts'
import { readProxyHeader } from './proxy-protocol.ts'
import { openClient, type TestClient, testIngress } from './testing.ts'

const folder = mkdtempSync(join(tmpdir(), 'everpost-proxies-'))
const [first, second, named] = await Promise.all(['one.test', 'two.test', 'named.test'].map((name) => ensureCertificate(join(folder, name), name)))
const live = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
function install(pair: { cert: string; key: string }): void {
  copyFileSync(pair.cert, live.cert)
  copyFileSync(pair.key, live.key)
}
install(first!)
const edge = await testIngress({
  tls: { ...live, names: { 'named.test': named! } },
  trustedProxies: ['127.0.0.1'], relayNetworks: ['192.0.2.7', '2001:db8::/32'], limits: { idleTime: '2s' },
  users: [{ name: 'alice', passwordHash: nobodysHash, addresses: ['alice@example.test', 'sales@example.test'] }],
  listeners: [
    { kind: 'smtp', address: '127.0.0.1', port: 0 },
    { kind: 'submission', address: '127.0.0.1', port: 0, proxyProtocol: true },
    { kind: 'submissions', address: '127.0.0.1', port: 0 },
    { kind: 'lmtp', path: join(folder, 'lmtp') },
  ],
})
const proxied = await testIngress({ trustedProxies: ['127.0.0.1'], relayNetworks: ['192.0.2.7', '2001:db8::/32'], listeners: [{ kind: 'smtp', port: 0, proxyProtocol: true }] })
after(async () => {
  await Promise.all([edge.end(), proxied.end()])
  rmSync(folder, { recursive: true, force: true })
})

async function talk(client: TestClient, ...lines: string[]): Promise<string[]> {
  const replies: string[] = []
  for (const line of lines) {
    client.send(`${line}\r\n`)
    replies.push(await client.reply())
  }
  return replies
}
const relay = ['EHLO c.test', 'MAIL FROM:<s@a.test>', 'RCPT TO:<x@elsewhere.test>']
const version2 = (family: number, addresses: Buffer, command = 0x21) =>
  Buffer.concat([Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1'), Buffer.from([command, family, addresses.length >> 8, addresses.length & 255]), addresses])
const ipv4 = Buffer.from([192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x34, 0, 25])
const ipv6 = Buffer.concat([Buffer.from('20010db8000000000000000000000007', 'hex'), Buffer.alloc(16), Buffer.from([0x12, 0x34, 0, 25])])

const mapped = Buffer.concat([Buffer.from('00000000000000000000ffffc0000207', 'hex'), Buffer.alloc(16), Buffer.from([0x12, 0x34, 0, 25])])

const headers: [string, Buffer, string][] = [
  ['version 1, IPv4', Buffer.from('PROXY TCP4 192.0.2.7 127.0.0.1 4660 25\r\n'), '192.0.2.7'],
  ['version 1, IPv6', Buffer.from('PROXY TCP6 2001:db8::7 ::1 4660 25\r\n'), '2001:db8::7'],
  ['version 2, IPv4', version2(0x11, ipv4), '192.0.2.7'],
  ['version 1, IPv4 as IPv6', Buffer.from('PROXY TCP6 ::ffff:c000:207 ::1 4660 25\r\n'), '192.0.2.7'],
  ['version 2, IPv4 as IPv6', version2(0x21, mapped), '192.0.2.7'],
  ['version 2, IPv6 with an extension', version2(0x21, Buffer.concat([ipv6, Buffer.from([4, 0, 1, 0])])), '2001:db8::7'],
]
for (const [name, header, address] of headers) {
  test(`PROXY ${name}: the client is the one that the proxy names`, async () => {
    for (const pieces of [[header], [...header].map((octet) => Buffer.from([octet]))]) {
      const client = openClient(proxied.port('smtp'))
      for (const piece of pieces) {
        client.socket.write(piece)
        if (pieces.length > 1) await new Promise(setImmediate)
      }
      assert.match(await client.reply(), /^220/)
      const replies = await talk(client, ...relay, 'DATA')
      assert.match(replies[2]!, /^250/, 'its address is one that may relay')
      client.send('.\r\n')
      assert.equal((await proxied.stored(await client.reply())).message.origin.clientAddress, address)
      client.close()
    }
  })
}

test('PROXY: LOCAL and UNKNOWN leave the proxy as the client; what is no header ends the connection', async () => {
  for (const header of ['PROXY UNKNOWN\r\n', version2(0, Buffer.alloc(0), 0x20).toString('latin1')]) {
    const client = openClient(proxied.port('smtp'))
    client.send(header)
    assert.match(await client.reply(), /^220/)
    assert.match((await talk(client, ...relay)).at(-1)!, /^550 5\.7\.1/)
    client.close()
  }
  for (const wrong of ['EHLO c.test\r\n', 'PROXY TCP4 192.0.2.7 x 1 2\r\n', 'PROXY TCP4 2001:db8::7 ::1 1 2\r\n', `PROXY ${'x'.repeat(200)}`, version2(0x11, ipv4.subarray(0, 4)).toString('latin1')]) {
    const client = openClient(proxied.port('smtp'))
    client.send(wrong)
    assert.equal(await client.reply(), 'closed')
  }
})

test('PROXY: read octet by octet it is incomplete until it is whole', () => {
  for (const [, header, address] of headers) {
    for (let i = 0; i < header.length; i++) assert.equal(readProxyHeader(header.subarray(0, i)), 'incomplete')
    const read = readProxyHeader(Buffer.concat([header, Buffer.from('EHLO')])) as { client: { address: string; port: number }; length: number }
    assert.deepEqual([plainAddress(read.client.address), read.client.port, read.length], [address, 4660, header.length])
  }
})

test('PROXY: what is no header is told at once, whatever comes after it; a proxy that speaks of no address is itself', () => {
  const extension = (length: number) => version2(0x11, Buffer.concat([ipv4, Buffer.alloc(length)]))
  const wrong = [
    'E', 'GET / HTTP/1.1', 'PROXY TCP4 192.0.2.7 ::1 1 2\r\n', 'PROXY TCP4 192.0.2.7 127.0.0.1 65536 2\r\n', 'PROXY TCP4 192.0.2.7 127.0.0.1 1\r\n',
    `PROXY UNKNOWN ${'x'.repeat(92)}\r\n`, 'PROXY UNKNOWNS\r\n', version2(0x11, ipv4, 0x22), version2(0x11, ipv4, 0x11), extension(4096),
  ]
  for (const octets of wrong) assert.equal(readProxyHeader(Buffer.from(octets)), 'wrong', octets.toString())
  for (const octets of [`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`, version2(0x31, Buffer.alloc(216)), version2(0x00, Buffer.alloc(0)), version2(0x11, ipv4, 0x20)]) {
    assert.deepEqual(readProxyHeader(Buffer.from(octets)), { client: null, length: octets.length })
  }
  assert.equal((readProxyHeader(extension(4068)) as { length: number }).length, 4096)
})

test('PROXY and XCLIENT are for trusted proxies: others are who they are', async () => {
  const other = openClient(proxied.port('smtp'), { localAddress: '127.0.0.9' })
  assert.match(await other.reply(), /^220/)
  const [ehlo, xclient] = await talk(other, 'EHLO c.test', 'XCLIENT ADDR=192.0.2.7')
  assert.doesNotMatch(ehlo!, /XCLIENT/)
  assert.match(xclient!, /^550 5\.7\.0/)
  other.close()
})

test('XCLIENT: address, name and login of the real client', async () => {
  const client = openClient(edge.port('smtp'))
  await client.reply()
  const replies = await talk(client, 'EHLO proxy.test', 'XCLIENT ADDR=[UNAVAILABLE] FOO=x', 'XCLIENT ADDR=IPV6:2001:db8::9 NAME=real.test PORT=99', ...relay, 'DATA')
  assert.match(replies[0]!, /XCLIENT NAME ADDR/)
  assert.match(replies[1]!, /^501 5\.5\.4/)
  assert.match(replies[2]!, /^220 /)
  assert.match(replies[5]!, /^250/)
  client.send('.\r\n')
  const { message } = await edge.stored(await client.reply())
  assert.deepEqual([message.origin.clientAddress, message.origin.clientName, message.origin.helo], ['2001:db8::9', 'real.test', 'c.test'])
  assert.match((await talk(client, 'XCLIENT ADDR=192.0.2.8')).at(-1)!, /^550/, 'once it has spoken for another, it is that other')
  client.close()
})

test('XCLIENT: in several commands, of which the one with ADDR is the last that is believed, whoever that names', async () => {
  for (const [ADDR, address] of [['192.0.2.9', '192.0.2.9'], ['127.0.0.1', '127.0.0.1'], ['[UNAVAILABLE]', '127.0.0.1']]) {
    const client = openClient(edge.port('smtp'))
    await client.reply()
    const replies = await talk(client, 'XCLIENT HELO=first.test LOGIN=alice', 'XCLIENT NAME=real.test', `XCLIENT PORT=99 ADDR=${ADDR}`, 'XCLIENT LOGIN=bob', 'EHLO c.test', 'XCLIENT LOGIN=bob')
    assert.deepEqual(replies.map((reply) => reply.slice(0, 3)), ['220', '220', '220', '550', '250', '550'])
    assert.doesNotMatch(replies[4]!, /XCLIENT/)
    await talk(client, ...relay.slice(1), 'DATA')
    client.send('.\r\n')
    const { origin } = (await edge.stored(await client.reply())).message
    assert.deepEqual([origin.clientAddress, origin.clientName, origin.user, origin.protocol], [address, 'real.test', 'alice', 'ESMTPA'])
    client.close()
  }
})

test('XCLIENT: a LOGIN has the addresses of the user that it names, and no others; one that names nobody is refused', async () => {
  await addUser(edge.sql, 'bob', 'x', ['@bob.test'])
  const open = async () => {
    const proxy = openClient(edge.port('submission'))
    proxy.send('PROXY UNKNOWN\r\n')
    await proxy.reply()
    return proxy
  }
  for (const [login, own, foreign] of [['ALICE', 'sales@example.test', 'x@bob.test'], ['bob', 'x@bob.test', 'sales@example.test']]) {
    const proxy = await open()
    const replies = await talk(proxy, `XCLIENT ADDR=192.0.2.9 LOGIN=${login}`, 'EHLO c.test', `MAIL FROM:<${foreign}>`, `MAIL FROM:<${own}>`, 'RCPT TO:<x@elsewhere.test>')
    assert.deepEqual(replies.map((reply) => reply.slice(0, 9)).filter((_, i) => i !== 1), ['220 mx.ex', '553 5.7.1', '250 2.1.0', '250 2.1.5'])
    proxy.close()
  }
  const proxy = await open()
  const replies = await talk(proxy, 'XCLIENT ADDR=192.0.2.9 LOGIN=nobody', 'XCLIENT ADDR=192.0.2.9 LOGIN=[UNAVAILABLE]', 'EHLO c.test', 'MAIL FROM:<sales@example.test>')
  assert.deepEqual([replies[0], replies[1]!.slice(0, 3), replies[3]!.slice(0, 9)], ['550 5.7.8 LOGIN is no user of this server', '220', '530 5.7.0'])
  proxy.close()
})

test('XCLIENT: what cannot be is refused, what is not known is looked up, and what was said before is forgotten', async () => {
  const client = openClient(edge.port('smtp'))
  await client.reply()
  const refused = await talk(client, 'EHLO proxy.test', 'MAIL FROM:<s@a.test>', 'XCLIENT ADDR=192.0.2.9', 'RSET', 'XCLIENT ADDR=192.0.2.256', 'XCLIENT PORT=65536', 'XCLIENT PORT=x', 'XCLIENT ADDR=')
  assert.deepEqual(refused.map((reply) => reply.slice(0, 9)).slice(2), ['503 5.5.1', '250 2.0.0', '501 5.5.4', '501 5.5.4', '501 5.5.4', '501 5.5.4'])
  const replies = await talk(client, 'XCLIENT NAME=[tempunavail] ADDR=192.0.2.7', 'MAIL FROM:<s@a.test>', 'EHLO c.test', ...relay.slice(1), 'DATA')
  assert.match(replies[1]!, /^503 5\.5\.1 Say EHLO first/)
  client.send('.\r\n')
  const { origin } = (await edge.stored(await client.reply())).message
  assert.deepEqual([origin.clientName, origin.helo], [null, 'c.test'])
  client.close()
  const broken = openClient(edge.port('smtp'))
  await broken.reply()
  await talk(broken, 'XCLIENT NAME=a+0D+0Ab ADDR=192.0.2.7', ...relay, 'DATA')
  broken.send('.\r\n')
  assert.equal((await edge.stored(await broken.reply())).message.origin.clientName, 'a??b')
  broken.close()
  const unnamed = openClient(edge.port('smtp'))
  await unnamed.reply()
  await talk(unnamed, 'XCLIENT ADDR=192.0.2.70', 'HELO c.test', ...relay.slice(1, 2), 'RCPT TO:<r@example.test>', 'DATA')
  unnamed.send('.\r\n')
  assert.equal((await edge.stored(await unnamed.reply())).message.origin.clientName, 'seventy.test')
  unnamed.close()

  const other = openClient(edge.port('smtp'))
  await other.reply()
  await edge.sql`alter table users rename to gone`
  await talk(other, 'EHLO proxy.test')
  assert.match((await talk(other, 'XCLIENT LOGIN=carol'))[0]!, /^454 4\.7\.0/)
  await edge.sql`alter table gone rename to users`
  other.close()
})

test('XCLIENT: an IPv4 address in the clothes of IPv6 is that IPv4 address', async () => {
  const client = openClient(edge.port('smtp'))
  await client.reply()
  const replies = await talk(client, 'XCLIENT ADDR=IPV6:0:0:0:0:0:FFFF:C000:0207', ...relay, 'DATA')
  assert.match(replies[3]!, /^250/, 'one that may relay')
  client.send('.\r\n')
  assert.equal((await edge.stored(await client.reply())).message.origin.clientAddress, '192.0.2.7')
  client.close()
})

const subject = async (servername: string, kind = 'submissions') => {
  const client = openClient(edge.port(kind), { tls: true, servername })
  await client.reply()
  const { CN } = (client.socket as TLSSocket).getPeerCertificate().subject
  return { CN, client }
}

test('SNI: a client gets the certificate of the name that it asks for, from the start and by STARTTLS', async () => {
  for (const [asked, got] of [['named.test', 'named.test'], ['other.test', 'one.test']] as const) {
    const { CN, client } = await subject(asked)
    assert.equal(CN, got)
    client.close()
    const plain = openClient(edge.port('smtp'))
    await plain.reply()
    await talk(plain, 'EHLO c.test', 'STARTTLS')
    assert.equal((await plain.startTls(asked)).getPeerCertificate().subject.CN, got)
    plain.close()
  }
})

test('changed certificates are used from then on, broken ones are not, and connections stay', async () => {
  const { client } = await subject('')
  install(second!)
  edge.ingress.reload()
  const after = await subject('')
  assert.equal(after.CN, 'two.test')
  copyFileSync(first!.key, live.key) // a key that does not belong to it
  edge.ingress.reload()
  const still = await subject('')
  assert.equal(still.CN, 'two.test')
  assert.match((await talk(client, 'NOOP', 'EHLO c.test', 'QUIT')).join(), /^250 .*221 2\.0\.0/s)
  for (const each of [after, still]) each.client.close()
})

test('TLS 1.1 is refused', async () => {
  const client = openClient(edge.port('smtp'))
  await client.reply()
  await talk(client, 'EHLO c.test', 'STARTTLS')
  const { connect } = await import('node:tls')
  client.socket.removeAllListeners('data')
  const error = await new Promise<Error>((resolve) => connect({ socket: client.socket, rejectUnauthorized: false, minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' })
    .on('error', resolve).on('secureConnect', () => resolve(new Error('it was accepted'))))
  assert.doesNotMatch(error.message, /accepted/)
})

test('LMTP on a Unix socket', async () => {
  const client = openClient(edge.port('lmtp'))
  assert.match(await client.reply(), /^220 mx\.example\.test LMTP Everpost/)
  const replies = await talk(client, 'LHLO c.test', 'MAIL FROM:<s@a.test>', 'RCPT TO:<r@example.test>', 'DATA')
  assert.match(replies.at(-1)!, /^354/)
  client.send('.\r\n')
  assert.equal((await edge.stored(await client.reply())).message.origin.clientAddress, '127.0.0.1')
  client.close()
})
