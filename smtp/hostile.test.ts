// Hosts that are broken or mean: whatever they say, in whatever pieces, an attempt ends in time with an outcome that nobody can misread.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { maximalReplyText, type Reply } from '../mail/reply.ts'
import { createDns } from './dns.ts'
import { createPool } from './pool.ts'
import { createReplyReader } from './replies.ts'
import { recipientsOf, type Script, startPeer, testRequest } from './testing.ts'
import { makeTestCa } from './testing-ca.ts'
import { plainTls } from './tls.ts'
import { transfer, type TransferRequest } from './transfer.ts'

const dns = createDns({ servers: [], timeout: 1000 })
const noPool = createPool({ idle: 0, age: 0, messages: 1, connections: 1 })
const timeouts = { connect: 500, greeting: 60, mail: 60, rcpt: 60, data: 60, block: 60, dot: 60 }

async function run(script: Script, change: Partial<TransferRequest> = {}) {
  const peer = await startPeer(script)
  try {
    const result = await transfer(testRequest(peer.port, change), { dns, pool: noPool })
    return { brief: Object.values(result.outcomes).map(({ status, phase, enhanced }) => `${status} ${phase} ${enhanced}`), result, peer }
  } finally {
    await peer.close()
  }
}

/** A message that leaves time for an early reply to arrive in its midst. */
async function* slowly() {
  yield Buffer.from('Subject: x\r\n')
  await sleep(30)
  yield Buffer.from('\r\nx\r\n')
}

const bye = '421 4.3.2 going down'
const at421: [string, Script, string][] = [
  ['greeting', { greeting: bye }, 'deferred greeting 4.3.2'],
  ['EHLO', { ehlo: bye }, 'deferred ehlo 4.3.2'],
  ['STARTTLS', { extensions: ['STARTTLS'], starttls: bye }, 'delivered dot 2.0.0'], // the second try is in the clear
  ['MAIL', { mail: bye }, 'deferred mail 4.3.2'],
  ['RCPT', { rcpt: { '*': bye } }, 'deferred rcpt 4.3.2'],
  ['DATA', { data: bye }, 'deferred data 4.3.2'],
  ['the midst of the message', { early: bye, dot: [] }, 'deferred data 4.3.2'],
  ['the dot', { dot: bye }, 'deferred dot 4.3.2'],
]
const pair = await (await makeTestCa()).issue('peer.test')
for (const secure of [false, true]) {
  for (const extensions of [[], ['PIPELINING']]) {
    for (const [where, script, expected] of at421) {
      // Under TLS the stages that come before it are the same.
      if (secure && ['greeting', 'EHLO', 'STARTTLS'].includes(where)) continue
      test(`421 at ${where} speaks for every recipient (${[secure ? 'TLS' : 'clear', ...extensions].join(', ')})`, async () => {
        const encrypted = secure ? { extensions: ['STARTTLS'], secureExtensions: extensions, tls: pair } : { extensions: [...extensions, ...(script.extensions ?? [])] }
        // Before the dot there is time for an early reply to arrive.
        const beforeDot = () => sleep(20, true)
        const change = { beforeDot, timeouts: { ...timeouts, mail: 2000 }, ...(secure ? { tls: async () => plainTls('encrypt') } : {}) }
        const { brief, result } = await run({ ...script, ...encrypted }, change)
        assert.deepEqual(brief, [expected, expected])
        assert.equal(result.tries[0]!.tls !== null, secure)
      })
    }
  }
}

test('421 at the second RCPT: the first was refused for good and stays so; nothing is sent to those taken before', async () => {
  const rcpt = { 'a@x.test': '550 5.1.1 no', 'c@x.test': bye }
  const { brief, peer } = await run({ rcpt }, { timeouts, recipients: recipientsOf('a@x.test', 'b@x.test', 'c@x.test', 'd@x.test') })
  assert.deepEqual(brief, ['bounced rcpt 5.1.1', 'deferred rcpt 4.3.2', 'deferred rcpt 4.3.2', 'deferred rcpt 4.3.2'])
  assert.deepEqual(peer.messages, [])
})

test('a reply that answers nothing ends the conversation before it can be taken for the answer to the next command', async () => {
  const { brief, peer } = await run({ mail: '250 2.1.0 ok\r\n550 5.7.1 who is this for' }, { timeouts })
  assert.deepEqual(brief, ['deferred rcpt 4.4.2', 'deferred rcpt 4.4.2'])
  assert.deepEqual(peer.messages, [])
})

test('lost before the dot nothing can have been delivered; lost after it, it is unknown, and the records tell', async () => {
  const lost = (script: Script, change: Partial<TransferRequest> = {}) => run(script, { timeouts, ...change })
  const before = await lost({ early: 'close' }, { content: slowly })
  assert.deepEqual([before.brief[0], before.result.dotSent, before.result.tries[0]!.dotSent], ['deferred data 4.4.2', false, false])
  const after = await lost({ dot: 'close' })
  assert.deepEqual([after.brief[0], after.result.dotSent, after.result.tries[0]!.phase], ['deferred dot 4.4.2', true, 'dot'])
  assert.match(after.result.outcomes[0]!.text, /after the final dot .*delivery is unknown/)
})

test('a reply counts, whatever nonsense follows it in the same breath', async () => {
  const taken = await run({ dot: '250 2.0.0 taken\r\n' }, { timeouts })
  assert.deepEqual(taken.brief, ['delivered dot 2.0.0', 'delivered dot 2.0.0'])
  const one = await run({ dot: ['250 2.0.0 taken\r\n250 2.0.0 taken\r\nnonsense'] }, { timeouts, protocol: 'lmtp' })
  assert.deepEqual(one.brief, ['delivered dot 2.0.0', 'delivered dot 2.0.0'])
  const early = await run({ early: '552 5.3.4 too big\r\nnonsense' }, { timeouts, content: slowly })
  assert.deepEqual([early.brief, early.result.dotSent], [['bounced data 5.3.4', 'bounced data 5.3.4'], false])
})

test('a reply of loose form is understood as it is meant, by the code of its last line; what begins without a code is none', async () => {
  const dots: [string, string][] = [
    ['250-2.0.0 queued\r\n251 ok', 'delivered dot 2.0.0'],
    ['250-2.0.0 queued\r\n  as 123\r\n\r\n250 ok', 'delivered dot 2.0.0'],
    ['250\tqueued', 'delivered dot 2.0.0'],
    ['250-2.0.0 queued\r\n554 5.6.0 no, not after all', 'bounced dot 5.6.0'],
    ['451-4.3.0 a line\r\n100 lines\r\n451 4.3.0 later', 'deferred dot 4.3.0'],
    ['queued\r\n250 ok', 'deferred dot 4.4.2'],
    ['250queued', 'deferred dot 4.4.2'],
  ]
  for (const [dot, expected] of dots) assert.deepEqual((await run({ dot }, { timeouts })).brief, [expected, expected], dot)
  const refused = await run({ rcpt: { 'a@x.test': '550-5.1.1 no such user\r\n554 bye' } }, { timeouts })
  assert.deepEqual(refused.brief, ['bounced rcpt 5.1.1', 'delivered dot 2.0.0'])
  assert.deepEqual(refused.result.outcomes[0]!.reply, { code: 554, enhanced: '5.1.1', text: 'no such user\nbye' })
  const greeted = await run({ greeting: '220-hello\r\n\r\n220 hi' }, { timeouts })
  assert.deepEqual(greeted.brief, ['delivered dot 2.0.0', 'delivered dot 2.0.0'])
  const endless = await run({ dot: `250-2.0.0 queued\r\n${'and on\r\n'.repeat(150)}250 ok` }, { timeouts })
  assert.match(endless.result.outcomes[0]!.text, /delivery is unknown/)
})

test('a host that closes while we ask whether the dot may be sent has not got it', async () => {
  const script: Script = {}
  const peer = await startPeer(script)
  try {
    const result = await transfer(testRequest(peer.port, { beforeDot: async () => {
      peer.each('close')
      await sleep(30)
      return true
    } }), { dns, pool: noPool })
    assert.deepEqual([result.dotSent, result.outcomes[0]!.phase, result.outcomes[0]!.status], [false, 'data', 'deferred'])
  } finally {
    await peer.close()
  }
})

test('replies are kept whole, many lines and all, and are safe to store, to log and to show', async () => {
  const { result } = await run({ rcpt: { 'a@x.test': '550-5.1.1 first\r\n550-5.1.1 sec\0ond \x1b[31m\r\n550 5.1.1 \xff\xfe\xe2\x80\xae third', 'b@x.test': '550 5.1.1 other' } }, { timeouts })
  assert.deepEqual(result.outcomes[0]!.reply, { code: 550, enhanced: '5.1.1', text: 'first\nsec?ond ?[31m\n\ufffd\ufffd? third' })
  assert.equal(result.outcomes[1]!.reply!.text, 'other')
})

test('a text cut at its limit is still well-formed: half a character cannot be stored', async () => {
  const { result } = await run({ mail: `550-${'\xf0\x9f\x93\xa7'.repeat(500)}\r\n`.repeat(4) + `550 x${'\xf0\x9f\x93\xa7'.repeat(500)}` }, { timeouts })
  const { text } = result.outcomes[0]!.reply!
  assert.ok(text.length <= maximalReplyText && text.isWellFormed() && result.outcomes[0]!.text.isWellFormed())
})

test('any octets in any pieces make the same replies, and the same refusal after them', () => {
  const known = fc.constantFrom('250 ok\r\n', '250-a\r\n', '550 5.1.1 no\r\n', '\r\n', '\n', '250', '-', ' ', '\0', '999 x\r\n', '250-a\r\n251 b\r\n', '250-a\r\n b\r\n', '250\tok\r\n')
  const piece = fc.oneof(known, fc.string({ unit: 'binary', maxLength: 20 }))
  const read = (chunks: Buffer[]) => {
    const replies: Reply[] = []
    const reader = createReplyReader((reply) => replies.push(reply))
    try {
      for (const chunk of chunks) reader.feed(chunk)
      return { replies, problem: null }
    } catch (error) {
      return { replies, problem: (error as Error).message }
    }
  }
  fc.assert(fc.property(fc.array(piece, { maxLength: 20 }), fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (pieces, cuts) => {
    const whole = Buffer.from(pieces.join(''))
    const chunks: Buffer[] = []
    for (let from = 0, i = 0; from < whole.length; from += cuts[i++ % cuts.length]!) chunks.push(whole.subarray(from, from + cuts[i % cuts.length]!))
    assert.deepEqual(read(chunks), read([whole]))
  }))
})

const saying = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('250 2.0.0 ok\r\n', '354 go\r\n', '220 hi\r\n', '250-x\r\n250-PIPELINING\r\n250 SIZE\r\n') },
  { weight: 3, arbitrary: fc.constantFrom('550 5.1.1 no\r\n', '451 later\r\n', '421 bye\r\n', '452 4.5.3 full\r\n', '250-unfinished\r\n', '334 \r\n', '252 hm\n') },
  { weight: 1, arbitrary: fc.constantFrom('', '\0\0\r\n', 'x'.repeat(70_000), '250-x\r\n'.repeat(150), '250 ok\r\n'.repeat(1200)) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
)

/** Answers each piece of input with the next saying, cut in two; says goodbye by closing when it has none left. Counts whole messages. */
async function startBabbler(sayings: string[], cut: number) {
  let messages = 0
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    let next = 0
    let input = ''
    const say = () => {
      const saying = sayings[next++]
      if (saying === undefined) return void socket.destroy()
      const octets = Buffer.from(saying, 'latin1')
      const at = Math.min(cut, octets.length)
      if (at > 0) socket.write(octets.subarray(0, at))
      setImmediate(() => socket.destroyed || socket.write(octets.subarray(at)))
    }
    say()
    socket.on('data', (octets: Buffer) => {
      input = (input + octets.toString('latin1')).slice(-200)
      if (input.endsWith('\r\n.\r\n')) {
        messages++
        input = ''
      }
      say()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as { port: number }).port,
    messages: () => messages,
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

test('whatever a host babbles, the attempt ends with one outcome for each recipient, at most one message, and no delivery without a dot', async () => {
  const good = fc.constant<string[]>(['220 hi\r\n', '250 x\r\n', '250 ok\r\n', '250 ok\r\n', '250 ok\r\n', '354 go\r\n', '250 ok\r\n'])
  const dialogue = fc.oneof(fc.array(saying, { maxLength: 10 }), fc.tuple(good, fc.nat(6), saying).map(([all, at, odd]) => all.with(at, odd)))
  let delivered = 0
  await fc.assert(fc.asyncProperty(dialogue, fc.nat(12), async (sayings, cut) => {
    const babbler = await startBabbler(sayings, cut)
    let dots = 0
    try {
      const result = await transfer(testRequest(babbler.port, { timeouts, beforeDot: async () => ++dots > 0 }), { dns, pool: noPool })
      const outcomes = Object.values(result.outcomes)
      assert.equal(outcomes.length, 2)
      assert.ok(babbler.messages() <= 1 && dots <= 1)
      for (const outcome of outcomes) {
        assert.ok(outcome.text.isWellFormed() && !outcome.text.includes('\0') && outcome.text.length < 2 * maximalReplyText)
        if (outcome.status === 'delivered') assert.ok(result.dotSent && outcome.phase === 'dot' && outcome.reply!.code < 300)
        if (outcome.status === 'bounced') assert.ok(outcome.reply!.code >= 500)
      }
      if (outcomes.some(({ status }) => status === 'delivered')) delivered++
    } finally {
      await babbler.close()
    }
  }), { numRuns: 150 })
  assert.ok(delivered > 0, 'some of the conversations are good ones')
})

/** Says hello, then the same piece for as long as anybody listens. Counts the octets that were taken from it. */
async function startGusher(piece: string) {
  let taken = 0
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {})
    socket.write('220 hi\r\n')
    socket.once('data', () => {
      socket.write('250 x\r\n')
      socket.once('data', async () => {
        while (!socket.destroyed && taken < 500_000_000) {
          taken += piece.length
          if (!socket.write(piece)) await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => {})
        }
        socket.destroy()
      })
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { port: (server.address() as { port: number }).port, taken: () => taken, close: () => new Promise<void>((resolve) => server.close(() => resolve())) }
}

for (const [name, piece] of [['a line', 'x'.repeat(65_536)], ['a reply', '250-x\r\n'.repeat(8192)], ['replies', '250 ok\r\n'.repeat(8192)]] as const) {
  test(`${name} without end: hung up on after a little, since what is heard is kept in memory`, async () => {
    const gusher = await startGusher(piece)
    try {
      const { outcomes } = await transfer(testRequest(gusher.port, { timeouts: { ...timeouts, mail: 10_000 } }), { dns, pool: noPool })
      assert.match(outcomes[0]!.text, /a reply line of more than|a reply of more than|replies without end|a reply that answers no command/)
      assert.equal(outcomes[0]!.status, 'deferred')
    } finally {
      await gusher.close()
    }
    // Most of it lay in the buffers of the kernel.
    assert.ok(gusher.taken() < 50_000_000, `${gusher.taken()} octets`)
  })
}
