import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { connect } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { pino } from 'pino'
import { startIngress } from '../../ingress/server.ts'
import { noAliases } from '../../ingress/testing.ts'
import { settingsSchema } from '../../settings/schema.ts'
import { createDns, type Dns } from '../../smtp/dns.ts'
import { resolveHosts } from '../../smtp/hosts.ts'
import { testDatabase } from '../support/database.ts'
import { fuzz, octets, text } from './budget.ts'

test('ingress: after any octets, in any order of commands, the next client is served', async () => {
  const { sql, drop } = await testDatabase()
  const settings = settingsSchema.parse({ listeners: [{ kind: 'smtp', address: '127.0.0.1', port: 0 }], localDomains: { 'x.test': { deliver: 'maildir', path: '/nowhere' } } })
  const outbox = { full: () => false, accepted: () => {}, stop: async () => {} }
  const ingress = await startIngress({ settings, sql, aliases: noAliases, startMessage: async () => {}, dns: { reverse: async () => null }, outbox, log: pino({ level: 'silent' }) })
  const { port } = ingress.addresses[0]!
  const command = fc.oneof(
    fc.constantFrom('EHLO c.test', 'MAIL FROM:<a@x.test>', 'RCPT TO:<b@x.test>', 'DATA', '.', 'RSET', 'BDAT 10 LAST', 'AUTH PLAIN =', 'HELO', 'STARTTLS', 'VRFY', 'XCLIENT ADDR=1'),
    fc.tuple(fc.constantFrom('MAIL FROM:<', 'RCPT TO:<', 'EHLO ', 'MAIL FROM:<> ', 'RCPT TO:<b@x.test> '), text(60)).map((parts) => parts.join('')),
  )
  const talk = (parts: Buffer[]) => new Promise<string>((resolve) => {
    let heard = ''
    const socket = connect(port, '127.0.0.1').setEncoding('latin1')
    socket.on('error', () => {}).on('close', () => resolve(heard)).on('data', (chunk: string) => {
      if (heard === '') socket.end(Buffer.concat(parts))
      heard += chunk
    })
    // It has said its last word, so the server has no reason to wait; but the machine may be busy.
    socket.setTimeout(60_000, () => socket.destroy())
  })
  try {
    const line = fc.oneof(command.map((each) => Buffer.from(`${each}\r\n`)), octets(60))
    await fuzz(fc.asyncProperty(fc.array(fc.array(line, { maxLength: 12 }), { minLength: 40, maxLength: 40 }), async (conversations) => {
      for (const heard of await Promise.all(conversations.map(talk))) {
        assert.match(heard, /^220 /)
        assert.ok(heard.split('\r\n').every((each) => each === '' || /^[2345]\d\d[ -]/.test(each)), JSON.stringify(heard))
      }
      assert.match(await talk([Buffer.from('QUIT\r\n')]), /^220 .*\r\n221 /)
    }))
  } finally {
    await ingress.stop()
    await drop()
  }
})

test('DNS: any answer of a server is an answer or a failure, never a bounce for what is not known', async () => {
  const socket = createSocket('udp4')
  let next: (query: Buffer) => Buffer = (query) => query
  socket.on('message', (query, from) => socket.send(next(query), from.port, from.address))
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  const dns = createDns({ servers: [`127.0.0.1:${socket.address().port}`], timeout: 20 })
  try {
    // The header and the question stay, so that the answer counts as one; what follows is anything.
    await fuzz(fc.asyncProperty(octets(120), fc.nat(15), fc.nat(3), fc.boolean(), async (rest, rcode, answers, right) => {
      next = (query) => {
        if (!right) return rest
        const head = Buffer.from(query)
        head[2] = 0x81
        head[3] = 0x80 | rcode
        head[7] = answers
        return Buffer.concat([head, rest])
      }
      const found = await dns.mx('x.test')
      assert.ok(['found', 'no-domain', 'no-data', 'failed'].includes(found.kind))
      if (right && ![0, 3].includes(rcode)) assert.equal(found.kind, 'failed')
    }))
  } finally {
    socket.close()
  }
})

test('hosts: any records are hosts to try or an outcome; what failed is deferred', async () => {
  const record = fc.record({ exchange: fc.oneof(text(40), fc.constantFrom('', '.', 'mx.example.test', 'A.test.')), preference: fc.nat(65535) })
  const found = fc.record({ kind: fc.constant('found'), records: fc.array(record, { minLength: 1, maxLength: 30 }) })
  const answer = fc.oneof(found, fc.constantFrom({ kind: 'no-domain' }, { kind: 'no-data' }, { kind: 'failed', problem: 'SERVFAIL' }))
  const addresses = fc.constantFrom({ kind: 'found', records: ['192.0.2.1'] }, { kind: 'no-domain' }, { kind: 'no-data' }, { kind: 'failed', problem: 'ETIMEOUT' })
  await fuzz(fc.asyncProperty(answer, addresses, async (mx, found) => {
    const dns = { mx: async () => mx, addresses: async () => found, reverse: async () => null } as unknown as Dns
    const hosts = await resolveHosts({ name: 'x.test', kind: 'mx', port: 25 }, dns, { hostname: 'mx.example.test' })
    if (hosts.kind === 'hosts') assert.ok(hosts.hosts.length >= 1 && hosts.hosts.length <= 20 && hosts.hosts.every((host) => host !== ''))
    else if (mx.kind === 'failed' || (mx.kind === 'no-data' && found.kind === 'failed')) assert.equal(hosts.outcome.status, 'deferred')
  }))
})
