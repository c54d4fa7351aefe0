import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, mock, test } from 'node:test'
import { MockActivityEnvironment } from '@temporalio/testing'
import { pino } from 'pino'
import { brokenOff } from '../mail/verdict.ts'
import type { HostTry, Outcome } from '../mail/outcome.ts'
import { type SettingsFile, settingsSchema } from '../settings/schema.ts'
import { createDns } from '../smtp/dns.ts'
import { loadHopOptions } from '../smtp/hop-options.ts'
import { createPool } from '../smtp/pool.ts'
import { startPeer } from '../smtp/testing.ts'
import { makeTestCa } from '../smtp/testing-ca.ts'
import { acceptMessage, type NewMessage } from '../store/accept.ts'
import { claimAttempt, markDot, readAttempts } from '../store/attempts.ts'
import { controlMessage } from '../store/control.ts'
import { openMessage } from '../store/messages.ts'
import { readRecipients, type RecipientRow } from '../store/recipients.ts'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { attemptTransfer } from './attempt-transfer.ts'
import { type Deliver, makeAttempt } from './attempt.ts'
import { createClaiming } from './claiming.ts'
import { firstHandOff } from './hand-off.ts'
import type { ActivityDeps } from './index.ts'
import { sendDsn } from './send-dsn.ts'
import type { Attempted, Group } from './types.ts'

const { sql, drop } = await testDatabase()
const folder = mkdtempSync(join(tmpdir(), 'everpost-attempt-'))
after(async () => {
  await drop()
  rmSync(folder, { recursive: true })
})

const trace = Buffer.from('Received: by mx.test\r\n')
const retention = { delivered: 0, failed: 0 }
const environment = () => new MockActivityEnvironment()

function depsWith(settings: SettingsFile, change: Partial<ActivityDeps> = {}): ActivityDeps {
  return {
    sql, settings: settingsSchema.parse(settings), log: pino({ level: 'silent' }), worker: 'w', stopping: new AbortController().signal,
    gate: { enter: async () => ({ kind: 'pass', slow: false, leave() {} }) }, ...change,
  } as unknown as ActivityDeps
}

function groupOf(change: Partial<Group>): Group {
  return { nextHop: 'x.test', destination: 'x.test', recipients: [0], agent: 'smtp', hosts: [], port: 25, returnPath: false, ...change }
}

async function accepted(recipients: string[], envelope: Partial<NewMessage['envelope']> = {}): Promise<string> {
  const message = newMessage(recipients)
  await acceptMessage(sql, { ...message, envelope: { ...message.envelope, ...envelope } })
  return message.id
}

const hold = (id: string) => controlMessage(sql, id, { action: 'hold', who: 'test', why: '' }, randomUUID(), retention)
const takeOver = (id: string, recipients: number[]) => claimAttempt(sql, {
  id, nextHop: 'x.test', recipients, route: null, worker: 'other', lease: 30_000, clock: new Date(0), trace: null, begunAt: new Date(), unclaimed: false, dot: null,
})

test('an attempt that lasts too long is broken off, and counts as one that the host deferred where it had come to', async () => {
  const id = await accepted(['a@slow.test', 'b@slow.test'])
  const tried: HostTry = {
    host: 'mx.slow.test', address: '192.0.2.1', port: 25, at: new Date().toISOString(), took: 1, tls: null, phase: 'rcpt', dotSent: false, problem: null,
  }
  const hang: Deliver = async ({ signal }) => {
    // Each reply comes in time, and the next command waits for its own.
    for (let i = 0; i < 40 && !signal.aborted; i++) mock.timers.tick(4 * 60_000)
    mock.timers.reset()
    return { outcomes: { 0: brokenOff('broken off'), 1: brokenOff('broken off') }, tries: [tried], dotSent: false }
  }
  mock.timers.enable({ apis: ['setTimeout'] })
  await environment().run(() => makeAttempt(depsWith({}), { id, clock: Date.now(), group: groupOf({ recipients: [0, 1] }) }, hang))
  const [recipient] = await readRecipients(sql, id, 2)
  assert.deepEqual([recipient!.attempts, recipient!.leasedUntil, recipient!.outcome!.enhanced, recipient!.outcome!.phase], [1, null, '4.4.2', 'rcpt'])
  assert.match(recipient!.outcome!.text, /broken off after 90 minutes, with host mx.slow.test\[192.0.2.1\]/)
  assert.ok(recipient!.nextAttemptAt.getTime() > Date.now() + 60_000)
  assert.ok((await readAttempts(sql, id, 1))[0]!.endedAt)
})

test('an attempt that claims with its dot takes all of its recipients or none', async () => {
  const id = await accepted(['a@x.test', 'b@x.test'])
  const other = (await takeOver(id, [1]))!
  const claiming = createClaiming(depsWith({}), { id, clock: Date.now(), group: groupOf({ recipients: [0, 1] }) }, trace, true)
  assert.equal(await claiming.beforeDot([0, 1]), false)
  assert.equal(claiming.claim(), null)
  const [a, b] = await readRecipients(sql, id, 2)
  assert.deepEqual([a!.leasedUntil, b!.leasedUntil !== null], [null, true])
  assert.equal(await markDot(sql, id, other.number, [1], 30_000), true)
})

for (const agent of ['maildir', 'pipe'] as const) {
  test(`what is put on hold, or taken by another attempt, between plan and hand-off is not handed on (${agent})`, async () => {
    const deps = depsWith({ localDomains: {
      'maildir.test': { deliver: 'maildir', path: `${folder}/{localpart}` },
      'pipe.test': { deliver: 'pipe', command: ['/bin/sh', '-c', `mkdir -p ${folder}/$LOCAL/new && cat > ${folder}/$LOCAL/new/mail`] },
    } })
    const changes = { untouched: async () => {}, held: hold, taken: (id: string) => takeOver(id, [0]) }
    for (const [name, change] of Object.entries(changes)) {
      const id = await accepted([`${agent}-${name}@${agent}.test`])
      const opened = (await openMessage(sql, id, new Date(), 1))!
      await change(id)
      await environment().run(() => firstHandOff(deps, { id, clock: Date.now(), group: groupOf({ agent }) }, { ...opened, message: { ...opened.message, trace } }))
      assert.equal(existsSync(join(folder, `${agent}-${name}`, 'new')), name === 'untouched', name)
    }
  })
}

test('an attempt that was taken over breaks off at its next renewal, and decides nothing', async () => {
  const id = await accepted(['a@x.test'])
  const hang: Deliver = async ({ signal }) => {
    await hold(id)
    await new Promise((resolve, reject) => {
      signal.addEventListener('abort', resolve, { once: true })
      setTimeout(reject, 5000, new Error('not broken off')).unref()
    })
    return { outcomes: { 0: brokenOff('broken off') }, tries: [], dotSent: false }
  }
  const deps = depsWith({ worker: { lease: '60ms' } })
  const attempted = environment().run(() => makeAttempt(deps, { id, clock: Date.now(), group: groupOf({}) }, hang)) as Promise<Attempted>
  assert.equal((await attempted).attempt, null)
  assert.equal((await readRecipients(sql, id, 1))[0]!.attempts, 0)
})

test('an attempt past its first dot breaks off the others at its next renewal, and records the reply', async () => {
  const id = await accepted(['a@x.test', 'b@x.test'])
  const taken: Outcome = { ...brokenOff('taken'), status: 'delivered', phase: 'dot', enhanced: '2.0.0' }
  const oneByOne: Deliver = async ({ signal, beforeDot }) => {
    assert.equal(await beforeDot([0]), true)
    await hold(id)
    assert.equal(await beforeDot([1]), false)
    await new Promise((resolve, reject) => {
      signal.addEventListener('abort', resolve, { once: true })
      setTimeout(reject, 5000, new Error('not broken off')).unref()
    })
    return { outcomes: { 0: taken, 1: brokenOff('broken off') }, tries: [], dotSent: true }
  }
  const deps = depsWith({ worker: { lease: '200ms' } })
  await environment().run(() => makeAttempt(deps, { id, clock: Date.now(), group: groupOf({ recipients: [0, 1] }) }, oneByOne))
  assert.deepEqual((await readRecipients(sql, id, 2)).map(({ state, attempts }) => [state, attempts]), [['delivered', 1], ['queued', 0]])
})

test('mail with REQUIRETLS (RFC 8689) does not go to a host without a good certificate, though no route asks for one', async () => {
  const peer = await startPeer({ extensions: ['STARTTLS'], secureExtensions: ['REQUIRETLS'], tls: await (await makeTestCa()).issue('x.test') })
  const deps = depsWith({}, {
    dns: createDns({ servers: [], timeout: 500 }), pool: createPool({ idle: 0, age: 0, messages: 1, connections: 1 }), hopOptions: loadHopOptions([]),
  })
  try {
    for (const requireTls of [false, true]) {
      const id = await accepted(['a@x.test'], { requireTls })
      await environment().run(() => attemptTransfer(deps, { id, clock: Date.now(), group: groupOf({ hosts: ['127.0.0.1'], port: peer.port }) }))
      const [recipient] = await readRecipients(sql, id, 1)
      assert.deepEqual([recipient!.state, recipient!.outcome!.enhanced], requireTls ? ['bouncing', '5.7.30'] : ['delivered', '2.0.0'])
    }
    assert.equal(peer.messages.length, 1)
  } finally {
    await peer.close()
  }
})

test('a source address that is gone defers with what is wrong, waits as any failure does, and is complained of once in a while', async () => {
  const peer = await startPeer()
  const lines: string[] = []
  const deps = depsWith({}, {
    dns: createDns({ servers: [], timeout: 500 }), pool: createPool({ idle: 0, age: 0, messages: 1, connections: 1 }),
    hopOptions: loadHopOptions([], { source: { ipv4: '192.0.2.1' } }), log: pino({ level: 'error' }, { write: (line: string) => lines.push(line) }),
  })
  try {
    for (let i = 0; i < 3; i++) {
      const id = await accepted(['a@x.test'])
      await environment().run(() => attemptTransfer(deps, { id, clock: Date.now(), group: groupOf({ hosts: ['127.0.0.1'], port: peer.port }) }))
      const [{ state, attempts, outcome, nextAttemptAt }] = await readRecipients(sql, id, 1) as [RecipientRow]
      assert.deepEqual([state, attempts, outcome!.enhanced], ['queued', 1, '4.3.5'])
      assert.match(outcome!.text, /^cannot connect to 127\.0\.0\.1\[127\.0\.0\.1\] from the source address 192\.0\.2\.1: this machine has no such address \(EADDRNOTAVAIL\)$/)
      assert.ok(nextAttemptAt.getTime() > Date.now() + 60_000)
    }
    assert.equal(peer.connections, 0)
    assert.equal(lines.length, 1)
    assert.match(lines[0]!, /192\.0\.2\.1.*a source address cannot be used/)
  } finally {
    await peer.close()
  }
})

test('failures that the sender did not want to hear of (NOTIFY=NEVER) are no dead letters; others that nobody can be told of are', async () => {
  const id = await accepted(['a@x.test', 'b@x.test'], { reversePath: '' })
  await sql`update recipients set state = 'bouncing', notify = case n when 0 then array['NEVER'] else '{}' end where message_id = ${id}`
  await environment().run(() => sendDsn(depsWith({}), { id, clock: Date.now(), expire: false, delayed: false }))
  assert.deepEqual((await readRecipients(sql, id, 2)).map(({ state, deadLetter }) => [state, deadLetter]), [['bounced', false], ['bounced', true]])
})
