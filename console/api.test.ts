// The API in one process with its database: what it hands on, refuses and wakes. Whole processes are in test/api.test.ts.

import assert from 'node:assert/strict'
import { after, beforeEach, test } from 'node:test'
import { pino } from 'pino'
import { acceptMessage } from '../store/accept.ts'
import { readActions } from '../store/actions.ts'
import { claimAttempt } from '../store/attempts.ts'
import { readMessage } from '../store/messages.ts'
import { readRecipients } from '../store/recipients.ts'
import { createToken } from '../store/tokens.ts'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { until } from '../test/support/until.ts'
import { startConsole } from './server.ts'
import type { Submission } from './submit.ts'

const { sql, drop } = await testDatabase()
const calls = { submitted: [] as Submission[], begun: [] as string[], woken: [] as string[], lifetimes: [] as (string | null)[][] }
const server = await startConsole({
  sql, watched: sql, address: '::', port: 0, parts: () => ({}), metrics: { open: false, text: async () => '' },
  api: {
    log: pino({ level: 'silent' }), maximalRecipients: 3, maximalSize: 100_000, retention: { delivered: 0, failed: 60_000 }, resumeOver: 0, version: '1',
    async submit(tx, submission) {
      calls.submitted.push(submission)
      const { envelope, origin, content } = submission
      const message = newMessage([], { envelope, origin, body: content, size: content.length })
      await acceptMessage(tx, message)
      return message.id
    },
    findRecipients: async (addresses) => addresses.map((address, n) => ({ n, forwardPath: address === 'alias@a.test' ? 'jörg@a.test' : address, notify: [], orcpt: null })),
    begin: (id) => calls.begun.push(id),
    wake: (id) => calls.woken.push(id),
    routing: { routes: [], localDomains: {}, destinations: { providers: [], limits: [] } },
    lifetimeOf(reversePath, user) {
      calls.lifetimes.push([reversePath, user])
      return 3_600_000
    },
  },
})
const token = (await createToken(sql, 'me', ['submit', 'read', 'control', 'events'], null))!
after(async () => {
  await server.stop()
  await drop()
})
beforeEach(async () => {
  for (const list of Object.values(calls)) list.length = 0
  await sql`delete from messages`
})

async function call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const answer = await fetch(`http://127.0.0.1:${server.port}${path}`, {
    method, headers: { authorization: `bearer  ${token}`, 'content-type': typeof body === 'string' ? 'message/rfc822' : 'application/json', ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  // biome-ignore lint/suspicious/noExplicitAny: answers of every kind
  return { status: answer.status, headers: answer.headers, body: (await answer.json()) as any }
}

async function accepted(recipients: string[], from = 's@a.test'): Promise<string> {
  const message = newMessage(recipients)
  message.envelope.reversePath = from
  await acceptMessage(sql, message)
  return message.id
}

async function failed(recipients: string[], from?: string): Promise<string> {
  const id = await accepted(recipients, from)
  await sql`update recipients set state = 'bounced', settled_at = now() where message_id = ${id}`
  await sql`update messages set state = 'finished', finished_at = now() where id = ${id}`
  return id
}

test('who is not let in is told how to ask (RFC 6750)', async () => {
  const none = await call('GET', '/v1/messages', undefined, { authorization: `Basic ${token}` })
  assert.deepEqual([none.status, none.headers.get('www-authenticate')], [401, 'Bearer realm="everpost"'])
  const lacking = await call('GET', '/metrics')
  assert.deepEqual([lacking.status, lacking.headers.get('www-authenticate')], [403, 'Bearer realm="everpost", error="insufficient_scope", scope="metrics"'])
})

test('a submission in parts: each recipient once, by the client and the token that it came from', async () => {
  const { status, body } = await call('POST', '/v1/messages', { from: 's@a.test', to: ['b@b.test', 'c@c.test'], cc: ['b@b.test'], bcc: ['d@d.test'], text: 'x' })
  assert.deepEqual([status, body.repeated, calls.begun, calls.lifetimes], [201, false, [body.id], [['s@a.test', 'token:me']]])
  const [{ envelope, origin, sendAt, lifetime }] = calls.submitted as [Submission]
  assert.deepEqual(envelope.recipients.map(({ forwardPath }) => forwardPath), ['b@b.test', 'c@c.test', 'd@d.test'])
  assert.deepEqual([envelope.body, envelope.smtpUtf8, origin.clientAddress, origin.user, sendAt, lifetime], ['7BIT', false, '127.0.0.1', 'token:me', null, 3_600_000])
})

test('addresses beyond ASCII need SMTPUTF8, also where only the answer or who is behind an alias has one; octets above 127 are noted', async () => {
  for (const change of [{ replyTo: 'jörg@a.test' }, { to: ['alias@a.test'] }, { from: 's@bücher.test' }]) {
    assert.equal((await call('POST', '/v1/messages', { from: 's@a.test', to: ['b@b.test'], ...change })).status, 201)
    assert.equal(calls.submitted.at(-1)!.envelope.smtpUtf8, true, JSON.stringify(change))
  }
  for (const [content, body] of [['Subject: x\n\nplain\n', '7BIT'], ['Subject: x\n\nschön\n', '8BIT']] as const) {
    await call('POST', '/v1/messages/raw?from=&to=b@b.test', content)
    assert.equal(calls.submitted.at(-1)!.envelope.body, body)
  }
})

test('what is wrong with a submission is told, and nothing is submitted', async () => {
  const parts = { from: 's@a.test', to: ['b@b.test'] }
  for (const [path, body, status, error, headers] of [
    ['/v1/messages', { ...parts, sendAt: new Date(Date.now() + 367 * 86_400_000) }, 422, 'sendAt is more than a year ahead', {}],
    ['/v1/messages', { ...parts, lifetime: 3_600_001 }, 422, 'lifetime: at most 3600000, as the settings say for this sender', {}],
    ['/v1/messages', { ...parts, to: ['1@b.test', '2@b.test', '3@b.test', '4@b.test'] }, 422, 'more than 3 recipients (settings: limits.recipients)', {}],
    ['/v1/messages/raw?from=s@a.test&to=b@b.test', '', 422, 'the message is empty', {}],
    ['/v1/messages/raw?from=s@a.test&to=b@b.test', 'A: b\n\n', 415, 'send the message as message/rfc822', { 'content-type': 'text/plain' }],
  ] as const) {
    const answer = await call('POST', path, body, headers)
    assert.deepEqual([answer.status, answer.body.error], [status, error])
  }
  assert.equal((await call('POST', '/v1/messages', { ...parts, to: ['1@b.test', '2@b.test', '3@b.test'], sendAt: new Date(Date.now() + 364 * 86_400_000) })).status, 201)
  assert.equal(calls.submitted.length, 1)
})

test('under its key a message is submitted and begun once, and whoever else is meant is another request', async () => {
  const raw = (to: string, content = 'A: b\n\n') => call('POST', `/v1/messages/raw?from=s@a.test&to=${to}`, content, { 'idempotency-key': 'k' })
  const [first, second] = [await raw('b@b.test'), await raw('b@b.test')]
  assert.deepEqual([first.status, second.status, first.body.repeated, second.body.repeated, second.body.id], [201, 200, false, true, first.body.id])
  assert.deepEqual([(await raw('c@c.test')).status, (await raw('b@b.test', 'A: c\n\n')).status], [409, 409])
  assert.deepEqual([calls.submitted.length, calls.begun], [1, [first.body.id]])
})

test('an action wakes the workflow of each message that it reached, and of no other', async () => {
  const [one, two, other] = [await accepted(['a@x.test', 'b@y.test'], 'one@a.test'), await accepted(['c@x.test'], 'two@a.test'), await accepted(['d@z.test'])]
  assert.equal((await call('POST', `/v1/messages/${one}/actions`, { action: 'hold' })).status, 200)
  assert.deepEqual(calls.woken, [one])
  assert.equal((await call('POST', `/v1/messages/${one}/actions`, { action: 'hold' })).status, 409)
  for (const wrong of [{ action: 'hold', recipients: [0] }, { action: 'reroute' }, { action: 'reroute', nextHop: 'a b' }]) {
    assert.equal((await call('POST', `/v1/messages/${two}/actions`, wrong)).status, 422)
    assert.equal((await call('POST', '/v1/actions', { ...wrong, recipients: undefined, filter: { sender: 'no@*' } })).status, wrong.action === 'hold' ? 200 : 422)
  }
  assert.equal((await call('POST', '/v1/messages/000000000000000000/actions', { action: 'hold' })).status, 404)
  assert.deepEqual(calls.woken, [one])

  // One is on hold already: it is not among those that match.
  const held = await call('POST', '/v1/actions', { action: 'hold', filter: { domain: 'X.test' } })
  assert.deepEqual([held.body, calls.woken], [{ matched: 1, done: 1, refused: [], last: two }, [one, two]])
  const dropped = await call('POST', '/v1/actions', { action: 'drop', filter: { domain: 'x.test' }, limit: 1, after: one })
  assert.deepEqual([dropped.body.matched, dropped.body.done, dropped.body.last], [2, 1, two])
  await call('POST', '/v1/actions', { action: 'drop', filter: { domain: 'x.test' } })
  assert.deepEqual((await readRecipients(sql, one, 9)).map(({ state }) => state), ['bouncing', 'queued'], 'a domain names recipients')
  await call('POST', '/v1/actions', { action: 'release', filter: { domain: 'y.test' } })
  assert.equal((await readMessage(sql, one))!.heldAt, null, 'and for a hold whole messages')
  const clock = new Date()
  const attempt = { nextHop: 'x', route: null, worker: 'w', lease: 60_000, clock, trace: null, begunAt: clock, unclaimed: false, dot: null }
  assert.ok(await claimAttempt(sql, { ...attempt, id: one, recipients: [1] }))
  await call('POST', '/v1/actions', { action: 'hold', filter: { sender: 'one@*', domain: 'x.test' } })
  assert.equal((await readRecipients(sql, one, 9))[1]!.leasedUntil, null, 'with whoever else an attempt is under way for')
  assert.deepEqual([(await readActions(sql, other)).length, calls.woken.includes(other)], [0, false])
})

test('the queue is listed page by page, by domain in any spelling and by time', async () => {
  const ids = [await accepted(['a@bücher.test']), await accepted(['b@bücher.test']), await accepted(['c@x.test'])]
  await sql`update messages set accepted_at = now() - interval '1 day' where id = ${ids[0]!}`
  const list = async (query: string) => (await call('GET', `/v1/messages?${query}`)).body.messages.map(({ id }: { id: string }) => id)
  assert.deepEqual(await list(`domain=${encodeURIComponent('Bücher.test.')}`), ids.slice(0, 2))
  assert.deepEqual([await list('limit=1&page=2'), await list('limit=2&page=2')], [[ids[1]], [ids[2]]])
  assert.deepEqual(await list(`before=${new Date(Date.now() - 3_600_000).toISOString()}`), [ids[0]])
})

test('replays: at a rate, whose workflows are woken when they are due; what an operator dropped only by name; elsewhere only where that is a place', async () => {
  const ids = [await failed(['a@X.test']), await failed(['b@x.test']), await failed(['c@x.test'])]
  const replay = async (asked: object) => (await call('POST', '/v1/replays', asked)).body
  for (const nextHop of ['a b', 'a\ud800.test']) assert.match((await replay({ sender: '*', nextHop, to: 'b@b.test' })).error, /is not a next hop|half of a surrogate pair/, nextHop)
  assert.deepEqual((await replay({ sender: '*', since: new Date(Date.now() + 60_000) })).messages, [])
  assert.deepEqual((await replay({ dead: true })).messages, [])
  assert.equal((await replay({ domain: 'X.TEST', dryRun: true })).messages.length, 3)
  await sql`update messages set body_released_at = now() where id = ${ids[2]!}`
  const one = await replay({ id: ids[2] })
  assert.deepEqual([one.replayed, one.messages.map(({ released }: { released: boolean }) => released)], [0, [true]], 'why it cannot be')
  const rated = await replay({ domain: 'x.test', perSecond: 0.01 })
  assert.deepEqual([rated.replayed, rated.last, calls.woken], [2, ids[1], [ids[0]]])
  const [due] = await sql<{ seconds: number }[]>`select extract(epoch from next_attempt_at - now())::float8 as seconds from recipients where message_id = ${ids[1]!}`
  assert.ok(due!.seconds > 60 && due!.seconds <= 100)

  const dropped = await failed(['d@d.test'])
  await sql`update recipients set dropped = true where message_id = ${dropped}`
  assert.deepEqual((await replay({ domain: 'd.test' })).messages, [])
  assert.equal((await replay({ id: dropped })).replayed, 1)
  const mixed = await failed(['dropped@e.test', 'failed@e.test'])
  await sql`update recipients set dropped = true where message_id = ${mixed} and n = 0`
  await replay({ domain: 'e.test' })
  assert.deepEqual((await readRecipients(sql, mixed, 9)).map(({ state }) => state), ['bounced', 'queued'])
})

test('a stream of events begins where it is asked to, ends when there is no more if that is asked for, and when the process stops', async () => {
  const listen = (query = '', headers = {}) =>
    fetch(`http://127.0.0.1:${server.port}/v1/events${query}`, { headers: { authorization: `Bearer ${token}`, ...headers }, signal: AbortSignal.timeout(20_000) })
  for (const cursor of [`${2n ** 64n}-0`, `0-${2n ** 63n}`, '1', 'x-1']) assert.equal((await listen('', { 'last-event-id': cursor })).status, 422, cursor)
  await sql`insert into events (message_id, event, detail) select id, 'action', '{}' from unnest(array['01KAV5X4T89H2M3N4P', '01KAV5X4T89H2M3N4Q']) id`
  const told = async (query: string) => [...(await (await listen(query, { 'last-event-id': '0-0' })).text()).matchAll(/"messageId":"(\w+)"/g)].map((match) => match[1])
  // A transaction of whomever on this server may hold them back for a moment.
  const both = await until('they can be read', async () => [await told('?once=true')].find(({ length }) => length === 2))
  assert.deepEqual(both, ['01KAV5X4T89H2M3N4P', '01KAV5X4T89H2M3N4Q'])
  assert.deepEqual(await told('?once=true&message=01KAV5X4T89H2M3N4Q'), ['01KAV5X4T89H2M3N4Q'])
  assert.equal((await sql`select from subscribers`).length, 0)
  const open = listen('')
  const text = (await open).text()
  await server.stop()
  assert.equal(await text, '')
})
