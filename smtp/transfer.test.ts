import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createDns } from './dns.ts'
import { createDotStuffer } from './dot-stuff.ts'
import { createPool } from './pool.ts'
import { type Peer, type Script, startPeer, testBody, testRequest } from './testing.ts'
import { startDnsServer } from './testing-dns.ts'
import { plainTls } from './tls.ts'
import { transfer, type TransferRequest } from './transfer.ts'

const dns = createDns({ servers: [], timeout: 1000 })
const pool = createPool({ idle: 0, age: 0, messages: 1, connections: 1 })
const body = testBody
const { timeouts } = testRequest(0)

async function run(script: Script, change: Partial<TransferRequest> = {}) {
  const peer = await startPeer(script)
  try {
    const result = await transfer(testRequest(peer.port, change), { dns, pool })
    const brief = [0, 1].map((n) => [result.outcomes[n]?.status, result.outcomes[n]?.phase, result.outcomes[n]?.enhanced].join(' '))
    return { result, brief, peer }
  } finally {
    await peer.close()
  }
}

for (const extensions of [[], ['PIPELINING', 'SIZE 1000']]) {
  test(`delivered, dots stuffed, octets as they were (${extensions.join() || 'plain'})`, async () => {
    const { brief, result, peer } = await run({ extensions })
    assert.deepEqual(brief, ['delivered dot 2.0.0', 'delivered dot 2.0.0'])
    assert.equal(peer.messages[0], body.replace(/\r\n\./g, '\r\n..'))
    assert.equal(peer.commands[1], `MAIL FROM:<s@a.test>${extensions.length > 0 ? ` SIZE=${body.length}` : ''}`)
    assert.equal(result.dotSent, true)
  })
}

test('each recipient has its own outcome', async () => {
  const { brief } = await run({ rcpt: { 'a@x.test': '550 5.1.1 no such user' } })
  assert.deepEqual(brief, ['bounced rcpt 5.1.1', 'delivered dot 2.0.0'])
})

test('addresses of our own are passed over, wherever they stand; with no other it is a loop', async () => {
  const isOurs = (address: string) => address === '127.0.0.2'
  for (const hosts of [['127.0.0.1', '127.0.0.2'], ['127.0.0.2', '127.0.0.1']]) {
    const { brief } = await run({}, { hosts, isOurs })
    assert.deepEqual(brief, ['delivered dot 2.0.0', 'delivered dot 2.0.0'], hosts.join())
  }
  assert.deepEqual((await run({}, { hosts: ['127.0.0.2'], isOurs })).brief, ['bounced dns 5.4.6', 'bounced dns 5.4.6'])
  assert.deepEqual((await run({ mail: '451 4.3.0 later' }, { hosts: ['127.0.0.1', '127.0.0.2'], isOurs })).brief, ['deferred mail 4.3.0', 'deferred mail 4.3.0'])
})

const cases: [string, Script, string, boolean][] = [
  ['MAIL 4xx', { mail: '451 4.3.0 later' }, 'deferred mail 4.3.0', false],
  ['MAIL 5xx', { mail: '550 no' }, 'bounced mail 5.0.0', false],
  ['DATA 5xx', { data: '554 no' }, 'bounced data 5.0.0', false],
  ['dot 4xx', { dot: '451 4.7.1 grey' }, 'deferred dot 4.7.1', true],
  ['dot 5xx', { dot: '554 5.6.0 bad' }, 'bounced dot 5.6.0', true],
  ['loss after the dot', { dot: 'close' }, 'deferred dot 4.4.2', true],
  ['silence after the dot', { dot: 'silent' }, 'deferred dot 4.4.2', true],
  ['loss at RCPT', { rcpt: { '*': 'close' } }, 'deferred rcpt 4.4.2', false],
  ['greeting 554', { greeting: '554 blocked' }, 'deferred greeting 4.0.0', false],
  ['greeting 521', { greeting: '521 5.3.2 no mail here' }, 'bounced greeting 5.3.2', false],
  ['no greeting', { greeting: 'silent' }, 'deferred greeting 4.4.2', false],
  ['354 to RCPT', { rcpt: { '*': '354 what' } }, 'deferred rcpt 4.0.0', false],
  ['garbage', { mail: 'hello\0there' }, 'deferred mail 4.4.2', false],
  ['endless reply', { mail: '250-x\r\n'.repeat(200) }, 'deferred mail 4.4.2', false],
  ['endless line', { mail: 'x'.repeat(1_000_000) }, 'deferred mail 4.4.2', false],
]
for (const [name, script, expected, dotSent] of cases) {
  test(`${name}: ${expected}`, async () => {
    const { brief, result } = await run(script)
    assert.deepEqual(brief, [expected, expected])
    assert.equal(result.dotSent, dotSent)
  })
}

test('an early refusal during DATA is read at once', async () => {
  const endless = async function* () { for (let i = 0; i < 2000; i++) yield Buffer.alloc(64 * 1024, 'x\r\n') }
  const { brief, result } = await run({ early: '552 5.3.4 too big' }, { content: endless })
  assert.deepEqual(brief, ['bounced data 5.3.4', 'bounced data 5.3.4'])
  assert.equal(result.dotSent, false)
})

test('EHLO refused, HELO taken; a failed STARTTLS under "may" goes on in the clear, under "verify" never', async () => {
  assert.deepEqual((await run({ ehlo: '502 what' })).brief[0], 'delivered dot 2.0.0')
  const clear = await run({ extensions: ['STARTTLS'], starttls: '220 go\r\n' })
  assert.deepEqual([clear.brief[0], clear.result.tries.length], ['delivered dot 2.0.0', 2])
  const verify = await run({ extensions: ['STARTTLS'], starttls: '454 4.7.0 no' }, { tls: async () => plainTls('verify') })
  assert.deepEqual([verify.brief[0], verify.peer.messages.length], ['deferred tls 4.7.0', 0])
})

test('fenced before the dot: nothing is delivered; a database fault is thrown', async () => {
  const fenced = await run({}, { beforeDot: async () => false })
  assert.deepEqual([fenced.brief[0], fenced.peer.messages.length], ['deferred policy 4.3.2', 0])
  await assert.rejects(run({}, { beforeDot: async () => { throw new Error('database away') } }), /database away/)
})

test('aborted before the dot it breaks off, after the dot it waits for the reply', async () => {
  const before = await run({ data: 'silent' }, { timeouts: { ...timeouts, data: 60_000 }, signal: AbortSignal.timeout(50) })
  assert.equal(before.brief[0], 'deferred policy 4.3.2')
  const stop = new AbortController()
  const after = await run({}, { signal: stop.signal, content: async function* () { yield Buffer.from(body) }, beforeDot: async () => {
    setImmediate(() => stop.abort())
    return true
  } })
  assert.equal(after.brief[0], 'delivered dot 2.0.0')
})

test('LMTP: one reply for each recipient; a loss leaves only the rest unknown', async () => {
  const both = await run({ dot: ['250 2.1.5 ok', '552 5.2.2 full'] }, { protocol: 'lmtp' })
  assert.deepEqual(both.brief, ['delivered dot 2.1.5', 'bounced dot 5.2.2'])
  const one = await run({ dot: ['250 2.1.5 ok', 'close'] }, { protocol: 'lmtp' })
  assert.deepEqual(one.brief, ['delivered dot 2.1.5', 'deferred dot 4.4.2'])
})

test('the next host takes who was deferred, and only those', async () => {
  const server = await startDnsServer({ 'one.test/A': ['127.0.0.2'], 'two.test/A': ['127.0.0.3'], 'gone.test/TXT': [] })
  const first: Peer = await startPeer({ rcpt: { 'a@x.test': '451 4.7.1 grey' } }, '127.0.0.2')
  const second = await startPeer({}, '127.0.0.3', first.port)
  try {
    const hosts = ['gone.test', 'one.test', 'two.test']
    const told: unknown[] = []
    const partly: TransferRequest['partly'] = async (soFar) => { told.push([soFar.get(0)?.status, soFar.get(1)?.status, second.connections]) }
    const result = await transfer(testRequest(first.port, { hosts, partly }), { dns: createDns({ servers: [server.server], timeout: 500 }), pool })
    assert.deepEqual([0, 1].map((n) => [result.outcomes[n]?.status, result.outcomes[n]?.host]), [['delivered', 'two.test'], ['delivered', 'one.test']])
    assert.deepEqual(second.commands.filter((line) => line.startsWith('RCPT')), ['RCPT TO:<a@x.test>'])
    assert.deepEqual(result.tries.map((tried) => tried.phase), ['dns', 'dot', 'dot'])
    assert.deepEqual(told, [['deferred', 'delivered', 0]], 'before the next host is asked, so that a crash there repeats nothing')
  } finally {
    await Promise.all([first.close(), second.close(), server.close()])
  }
})

test('what a host said of the message is not forgotten since the next one is not there, or takes no mail now', async () => {
  const first = await startPeer({ rcpt: { '*': '450 4.2.0 Greylisted' } })
  const script: Script = { greeting: '421 4.3.2 too busy' }
  const second = await startPeer(script, '127.0.0.2', first.port)
  const said = async (...hosts: string[]) => {
    const { outcomes, tries } = await transfer(testRequest(first.port, { hosts }), { dns, pool })
    assert.equal(tries.length, 2)
    return `${outcomes[0]!.phase} ${outcomes[0]!.enhanced} ${outcomes[0]!.host}`
  }
  try {
    assert.equal(await said('127.0.0.1', '127.0.0.3'), 'rcpt 4.2.0 127.0.0.1')
    assert.equal(await said('127.0.0.3', '127.0.0.1'), 'rcpt 4.2.0 127.0.0.1')
    assert.equal(await said('127.0.0.1', '127.0.0.2'), 'rcpt 4.2.0 127.0.0.1')
    assert.equal(await said('127.0.0.3', '127.0.0.2'), 'greeting 4.3.2 127.0.0.2')
    // What is said later counts, and a lost dot always does.
    Object.assign(script, { greeting: undefined, mail: '451 4.7.1 no' })
    assert.equal(await said('127.0.0.1', '127.0.0.2'), 'mail 4.7.1 127.0.0.2')
    Object.assign(script, { mail: undefined, dot: 'close' })
    assert.equal(await said('127.0.0.1', '127.0.0.2'), 'dot 4.4.2 127.0.0.2')
  } finally {
    await Promise.all([first.close(), second.close()])
  }
})

test('broken off between two hosts, or with the second, the reply to the first one\'s dot is what is known; before a dot it is nothing', async () => {
  const script: Script = { dot: '451 4.7.1 later' }
  const first = await startPeer(script)
  const second = await startPeer({ greeting: 'silent' }, '127.0.0.2', first.port)
  const said = async (between: boolean) => {
    const stop = new AbortController()
    let hosts = 0
    const tls: TransferRequest['tls'] = async () => {
      if (++hosts === 2) setTimeout(() => stop.abort(), 50)
      if (hosts === 2 && between) stop.abort()
      return plainTls('may')
    }
    const patient = { ...timeouts, greeting: 10_000 }
    const result = await transfer(testRequest(first.port, { hosts: ['127.0.0.1', '127.0.0.2'], signal: stop.signal, tls, timeouts: patient, anotherHost: () => true }), { dns, pool })
    assert.equal(result.tries.length, between ? 1 : 2)
    return [result.outcomes[0]!, result.outcomes[1]!].map(({ status, phase, reply }) => `${status} ${phase} ${reply?.code}`)
  }
  try {
    for (const between of [true, false]) {
      Object.assign(script, { rcpt: undefined, dot: '451 4.7.1 later' })
      assert.deepEqual(await said(between), ['deferred dot 451', 'deferred dot 451'])
      // Another host would have been asked, so it is no bounce yet.
      script.dot = '554 5.7.1 blocked'
      assert.deepEqual(await said(between), ['deferred dot 554', 'deferred dot 554'])
      script.rcpt = { 'b@x.test': '451 4.7.1 later' }
      assert.deepEqual(await said(between), ['deferred dot 554', 'deferred policy undefined'])
    }
  } finally {
    await Promise.all([first.close(), second.close()])
  }
})

test('dot-stuffing does not depend on chunk borders', () => {
  const piece = fc.constantFrom('.', '\r\n', '\r', '\n', 'a', '\r\n.', '..')
  fc.assert(fc.property(fc.array(piece), fc.array(fc.nat(3), { minLength: 1 }), (pieces, cuts) => {
    const text = pieces.join('')
    const stuffer = createDotStuffer()
    let out = ''
    for (let from = 0, i = 0; from < text.length; i++) {
      const to = from + 1 + cuts[i % cuts.length]!
      for (const part of stuffer.stuff(Buffer.from(text.slice(from, to)))) out += Buffer.from(part).toString()
      from = to
    }
    assert.equal(out, `\r\n${text}`.replace(/\r\n\./g, '\r\n..').slice(2))
    assert.equal(stuffer.end(), `\r\n${text}`.endsWith('\r\n') ? '' : '\r\n')
  }))
})

test('a host that says no for good is followed by the next one when that is asked for', async () => {
  const server = await startDnsServer({ 'one.test/A': ['127.0.0.2'], 'two.test/A': ['127.0.0.3'] })
  const first = await startPeer({ rcpt: { '*': '554 5.7.1 blocked' } }, '127.0.0.2')
  const second = await startPeer({}, '127.0.0.3', first.port)
  try {
    const change: Partial<TransferRequest> = { hosts: ['one.test', 'two.test'], anotherHost: ({ n }) => n === 1 }
    const result = await transfer(testRequest(first.port, change), { dns: createDns({ servers: [server.server], timeout: 500 }), pool })
    assert.deepEqual([0, 1].map((n) => [result.outcomes[n]?.status, result.outcomes[n]?.host]), [['bounced', 'one.test'], ['delivered', 'two.test']])
  } finally {
    await Promise.all([first.close(), second.close(), server.close()])
  }
})
