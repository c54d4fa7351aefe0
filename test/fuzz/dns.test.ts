import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { test } from 'node:test'
import fc from 'fast-check'
import { createDns } from '../../smtp/dns.ts'
import { resolveHosts } from '../../smtp/hosts.ts'
import { fuzz, octets, timeout } from './budget.ts'

const types = { A: 1, NS: 2, CNAME: 5, SOA: 6, MX: 15, AAAA: 28, OPT: 41 }

/** Labels, pointers (to themselves, forwards, beyond the end), and names that do not end. */
const name = fc.array(fc.oneof(
  octets(10).map((label) => Buffer.concat([Buffer.from([Math.min(label.length, 63)]), label])),
  fc.nat(0x3fff).map((at) => Buffer.from([0xc0 | (at >> 8), at & 255])), fc.constantFrom(Buffer.from([0xc0, 12]), Buffer.from([0]), Buffer.from([63]), Buffer.from([0x40, 1])),
), { maxLength: 5 }).chain((labels) => fc.constantFrom(Buffer.from([0]), Buffer.from([0xc0, 12]), Buffer.alloc(0)).map((end) => Buffer.concat([...labels, end])))

const data = fc.oneof(octets(20), name, fc.tuple(fc.nat(65535), name).map(([preference, host]) => Buffer.concat([Buffer.from([preference >> 8, preference & 255]), host])))

const owner = fc.oneof({ weight: 3, arbitrary: fc.constant(Buffer.from([0xc0, 12])) }, { weight: 1, arbitrary: name })
const record = fc.tuple(owner, fc.constantFrom(...Object.values(types)), data, fc.oneof({ weight: 4, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.nat(600) }))
  .map(([owner, type, rdata, lie]) => {
    const length = lie ?? rdata.length
    return Buffer.concat([owner, Buffer.from([0, type, 0, 1, 0, 0, 0, 0, length >> 8, length & 255]), rdata])
  })

test('DNS: loops of pointers, cut packets, false counts and lengths are hosts that can be named, or nothing; never a crash, and never a wait', { timeout }, async () => {
  const socket = createSocket('udp4')
  const kinds = new Set<string>()
  let runs = 0
  let asked: Promise<unknown> | undefined
  let next: (query: Buffer) => Buffer = (query) => query
  socket.on('message', (query, from) => socket.send(next(query), from.port, from.address))
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  const dns = createDns({ servers: [`127.0.0.1:${socket.address().port}`], timeout: 20 })
  try {
    const counts = fc.tuple(fc.nat(6), fc.nat(2), fc.nat(2))
    await fuzz(fc.asyncProperty(fc.array(record, { maxLength: 5 }), counts, fc.boolean(), fc.boolean(), fc.nat(300), fc.constantFrom(0, 0, 0, 2, 3, 5),
      async (records, [answers, authorities, additional], lies, truncated, cut, rcode) => {
        next = (query) => {
          const head = Buffer.from(query.subarray(0, 12))
          // The question, without what the resolver adds behind it (EDNS).
          const question = query.subarray(12, query.indexOf(0, 12) + 5)
          head[2] = truncated && rcode === 0 && cut % 7 === 0 ? 0x83 : 0x81
          head[3] = 0x80 | rcode
          head.set([0, 1, 0, lies ? answers : records.length, 0, lies ? authorities : 0, 0, lies ? additional : 0], 4)
          const packet = Buffer.concat([head, question, ...records])
          return lies && cut % 3 === 0 ? packet.subarray(0, Math.max(12, packet.length - (cut % 60))) : packet
        }
        const answered = resolveHosts({ name: 'x.test', kind: 'mx', port: 25 }, dns, { hostname: 'mx.example.test' })
        asked = answered
        const found = await answered
        runs++
        kinds.add(found.kind === 'hosts' ? 'hosts' : found.outcome.status)
        if (rcode === 2 || rcode === 5) assert.ok(found.kind === 'outcome' && found.outcome.status === 'deferred', JSON.stringify(found))
        // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there
        if (found.kind === 'hosts') for (const host of found.hosts) assert.doesNotMatch(host, /[\x00-\x20\x7f]/)
        else assert.equal(typeof found.outcome.text, 'string')
      }))
    await asked
    if (runs > 3000) assert.deepEqual([...kinds].sort(), ['bounced', 'deferred', 'hosts'], 'each came up')
  } finally {
    socket.close()
  }
})
