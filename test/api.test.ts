import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { readActions } from '../store/actions.ts'
import { limitDestination } from '../store/destinations.ts'
import { readMessage } from '../store/messages.ts'
import { readRecipients } from '../store/recipients.ts'
import { type Everpost, prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

const script = { extensions: ['8BITMIME', 'SMTPUTF8'], rcpt: { '*': '451 4.7.1 not now' } as Record<string, string> }
const peer = await startPeer(script)
let everpost: Everpost
const tokens: Record<string, string> = {}

before(async () => {
  everpost = await prepareEverpost({
    retry: { minimalBackoffTime: '1h', lifetimes: [{ from: 'quick@a.test', users: 'token:all', lifetime: '7h' }] },
    routes: ['partner.test', 'xn--mller-kva.test'].map((domain) => ({ domain, nextHop: `[127.0.0.1]:${peer.port}` })),
    localDomains: {
      'example.test': { deliver: 'maildir', path: './mail/{localpart}' },
      'listed.test': { deliver: 'maildir', path: './mail/{localpart}', recipients: ['known'] },
    },
    destinations: { providers: [{ name: 'Big Corp', hosts: ['*.big.test'] }] },
    aliases: { 'team@example.test': ['inge@example.test', 'jan@example.test'] },
  })
  await everpost.start()
  for (const [name, ...scopes] of [['all', 'submit', 'read', 'control', 'events'], ['reader', 'read']] as const) {
    tokens[name] = (await everpost.command('token', 'create', name, '--scope', ...scopes)).stdout.trim()
  }
})
after(async () => {
  await everpost.end()
  await peer.close()
})

async function call(method: string, path: string, body?: unknown, more: Record<string, string> = {}, token = tokens['all']) {
  const raw = typeof body === 'string'
  const answer = await fetch(`http://127.0.0.1:${everpost.ports['http']}${path}`, {
    method,
    headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...(body === undefined ? {} : { 'content-type': raw ? 'message/rfc822' : 'application/json' }), ...more },
    ...(body === undefined ? {} : { body: raw ? body : JSON.stringify(body) }),
  })
  // biome-ignore lint/suspicious/noExplicitAny: the tests look into answers of every kind
  return { status: answer.status, body: (await answer.json()) as any }
}

test('nothing is open without a token of the right scope, and a revoked one is none', async () => {
  assert.equal((await call('GET', '/healthz', undefined, {}, '')).status, 200)
  for (const path of ['/v1/messages', '/v1/events', '/v1/openapi.json', '/v1/nothing']) assert.equal((await call('GET', path, undefined, {}, '')).status, 401)
  assert.equal((await call('GET', '/v1/messages', undefined, {}, 'evp_wrong')).status, 401)
  assert.equal((await call('GET', '/v1/messages', undefined, {}, tokens['reader'])).status, 200)
  const denied = await call('POST', '/v1/messages', { from: 'a@a.test', to: ['b@b.test'] }, {}, tokens['reader'])
  assert.deepEqual([denied.status, denied.body.error], [403, 'this token lacks the scope submit'])
  const { stdout } = await everpost.command('token', 'create', 'short', '--scope', 'read')
  assert.equal((await call('GET', '/v1/messages', undefined, {}, stdout.trim())).status, 200)
  await everpost.command('token', 'revoke', 'short')
  assert.equal((await call('GET', '/v1/messages', undefined, {}, stdout.trim())).status, 401)
  assert.match((await everpost.command('token', 'list')).stdout, /short\s+read\s+revoked/)
  const stored = await everpost.sql<{ hash: Buffer }[]>`select hash from tokens`
  assert.ok(stored.every(({ hash }) => hash.length === 32 && !Object.values(tokens).some((token) => token.includes(hash.toString('base64url')))))
})

test('a message in JSON is composed and delivered; under its key it is taken once', async () => {
  const message = {
    from: 'sender@example.test', to: ['carol@example.test'], bcc: ['dora@example.test'], subject: 'Grüße', text: 'Hello\nthere.',
    headers: { 'X-Campaign': '7' }, attachments: [{ filename: 'a.txt', contentType: 'text/plain', content: Buffer.from('attached').toString('base64') }],
  }
  const key = { 'idempotency-key': 'order-17' }
  const both = await Promise.all([call('POST', '/v1/messages', message, key), call('POST', '/v1/messages', message, key)])
  assert.deepEqual(both.map(({ status }) => status).sort(), [200, 201])
  const [{ body: { id } }] = both
  assert.equal(both[1].body.id, id)
  assert.deepEqual(await everpost.states(id), ['delivered', 'delivered'])
  const other = await call('POST', '/v1/messages', { ...message, subject: 'Other' }, key)
  assert.deepEqual([other.status, other.body.error], [409, 'this key led to a message already, by another request'])
  assert.equal(everpost.maildir('carol').length, 1)
  const [mail] = everpost.maildir('carol')
  assert.match(mail!, /Received: from .*\n\tby mx\.example\.test \(Everpost\) with HTTP id /)
  assert.match(mail!, /Subject: =\?UTF-8\?/)
  assert.match(mail!, /X-Campaign: 7/)
  assert.doesNotMatch(mail!, /dora/)
})

test('a whole message is taken as it is, with line ends mended; what is wrong is told', async () => {
  const { status, body } = await call('POST', '/v1/messages/raw?from=a@a.test&to=emil@example.test&to=fritz@example.test', 'Subject: raw\n\nOne\nTwo\n')
  assert.equal(status, 201)
  assert.deepEqual(await everpost.states(body.id), ['delivered', 'delivered'])
  assert.match(everpost.maildir('emil')[0]!, /Subject: raw\n\nOne\nTwo\n$/)
  const boxed = await call('POST', '/v1/messages/raw?from=a@a.test&to=gerda@example.test', 'From a@a.test Thu Jan  1\nSubject: boxed\n\nOne\n')
  assert.deepEqual(await everpost.states(boxed.body.id), ['delivered'])
  assert.match(everpost.maildir('gerda')[0]!, /\nDate: .*\nMessage-ID: .*\nX-Mailbox-Line: From a@a\.test .*\nSubject: boxed\n\nOne\n$/)
  for (const [path, sent, code, words] of [
    ['/v1/messages', { from: 'a@a.test', to: ['nonsense'] }, 422, /to\.0: an address/], ['/v1/messages', { from: 'a@a.test' }, 422, /no recipient/],
    ['/v1/messages', { from: 'a@a.test', to: ['b@b.test'], subject: 'a\r\nBcc: x@x.test' }, 422, /subject: one line/],
    ['/v1/messages', { from: 'a@a.test', to: ['b@b.test'], surplus: 1 }, 422, /surplus/], ['/v1/messages/raw?from=a@a.test', 'x', 422, /to/],
    ['/v1/messages/raw?from=a@a.test&to=b@b.test', 'a: b\n\n\0', 422, /NUL/],
  ] as const) {
    const answer = await call('POST', path, sent)
    assert.equal(answer.status, code, JSON.stringify(answer))
    assert.match(answer.body.error, words)
  }
})

test('who is behind an address is found as at RCPT: aliases are followed, unknown users refused', async () => {
  const { body: { id } } = await call('POST', '/v1/messages', { from: 'a@a.test', to: ['team@example.test', 'inge@example.test'], subject: 'for the team', text: 'x' })
  assert.deepEqual(await everpost.states(id), ['delivered', 'delivered', 'delivered'])
  assert.deepEqual((await readRecipients(everpost.sql, id, 9)).map(({ forwardPath, orcpt }) => [forwardPath, orcpt]), [
    ['inge@example.test', 'rfc822;team@example.test'], ['jan@example.test', 'rfc822;team@example.test'], ['inge@example.test', null]])
  assert.deepEqual([everpost.maildir('jan').length, everpost.maildir('team').length], [1, 0])
  const unknown = await call('POST', '/v1/messages', { from: 'a@a.test', to: ['known@listed.test', 'nobody@listed.test'] })
  assert.deepEqual([unknown.status, unknown.body.error], [422, 'nobody@listed.test: There is no such user here'])
})

test('addresses beyond ASCII go with SMTPUTF8; a submission may have a shorter lifetime, not a longer one', async () => {
  script.rcpt = {}
  const sent = { from: 'jörg@example.test', to: ['søren@müller.test'], subject: 'Hej', text: 'Hej.', lifetime: 3_600_000 }
  const { status, body: { id } } = await call('POST', '/v1/messages', sent)
  assert.equal(status, 201)
  assert.deepEqual(await everpost.states(id), ['delivered'])
  assert.ok(peer.commands.some((line) => /^MAIL FROM:<jörg@example\.test> .*SMTPUTF8/.test(Buffer.from(line, 'latin1').toString())), peer.commands.join())
  const { smtpUtf8, expiresAt, acceptedAt } = (await readMessage(everpost.sql, id))!
  assert.deepEqual([smtpUtf8, expiresAt.getTime() - acceptedAt.getTime()], [true, 3_600_000])
  script.rcpt = { '*': '451 4.7.1 not now' }
  const longer = await call('POST', '/v1/messages', { ...sent, lifetime: 6 * 86_400_000 })
  assert.deepEqual([longer.status, longer.body.error], [422, 'lifetime: at most 432000000, as the settings say for this sender'])
  const raw = await call('POST', `/v1/messages/raw?from=a@a.test&to=${encodeURIComponent('søren@müller.test')}&lifetime=60000`, 'Subject: raw\n\nOne\n')
  assert.equal((await readMessage(everpost.sql, raw.body.id))!.smtpUtf8, true)
})

test('a scheduled message waits for its time; listed, shown, acted on one by one and in bulk', async () => {
  const sendAt = new Date(Date.now() + 3_600_000).toISOString()
  const later = await call('POST', '/v1/messages', { from: 'a@a.test', to: ['gerd@example.test'], sendAt })
  const id = later.body.id as string
  await until('its workflow has started', async () => (await readMessage(everpost.sql, id))!.startedAt)
  const view = await call('GET', `/v1/messages/${id}`)
  assert.deepEqual([view.body.message.sendAt, view.body.next], [sendAt, { what: 'the next attempt', at: sendAt }])
  assert.ok((await readMessage(everpost.sql, id))!.expiresAt.getTime() > Date.parse(sendAt) + 4 * 86_400_000)

  assert.deepEqual((await call('POST', `/v1/messages/${id}/actions`, { action: 'hold', why: 'wait' })).body, { changed: ['gerd@example.test'], count: 1, busy: [] })
  const again = await call('POST', `/v1/messages/${id}/actions`, { action: 'hold' })
  assert.deepEqual([again.status, again.body.error], [409, 'it is on hold already'])
  assert.equal((await call('POST', `/v1/messages/${id}/actions`, { action: 'release' })).status, 200)
  assert.deepEqual(await everpost.states(id, () => true), ['queued'], 'a release does not send before its time')
  assert.equal((await call('POST', `/v1/messages/${id}/actions`, { action: 'retry' })).status, 200)
  assert.deepEqual(await everpost.states(id), ['delivered'])
  assert.deepEqual((await readActions(everpost.sql, id)).map(({ action, who }) => `${action} by ${who}`), ['hold by token:all', 'release by token:all', 'retry by token:all'])

  const ids: string[] = []
  for (let i = 0; i < 3; i++) ids.push((await call('POST', '/v1/messages', { from: 'bulk@a.test', to: [`u${i}@partner.test`] })).body.id)
  for (const each of ids) await until('deferred', async () => (await readRecipients(everpost.sql, each, 1))[0]?.outcome)
  const listed = await call('GET', `/v1/messages?sender=bulk@*&nextHop=${encodeURIComponent(`[127.0.0.1]:${peer.port}`)}&status=deferred&limit=2`)
  assert.deepEqual(listed.body.messages.map((row: { id: string }) => row.id), ids.slice(0, 2))
  assert.equal((await call('POST', '/v1/actions', { action: 'bounce', filter: {} })).status, 422)
  const dry = await call('POST', '/v1/actions', { action: 'bounce', filter: { sender: 'bulk@a.test' }, dryRun: true })
  assert.deepEqual([dry.body.matched, dry.body.done], [3, 0])
  // One was dropped before, and no worker has come to it yet.
  await everpost.sql`update recipients set state = 'bouncing', dropped = true where message_id = ${ids[0]!}`
  const done = await call('POST', '/v1/actions', { action: 'drop', filter: { sender: 'bulk@a.test' }, why: 'spam' })
  assert.deepEqual([done.body.matched, done.body.done, done.body.last, done.body.refused], [2, 2, ids[2], []])
  await everpost.sql`update messages set drive_at = now() where id = ${ids[0]!}`
  for (const each of ids) assert.deepEqual(await everpost.states(each), ['bounced'])

  script.rcpt = {}
  assert.equal((await call('POST', '/v1/replays', { sender: 'bulk@a.test' })).body.replayed, 0, 'what was dropped stays so')
  for (const empty of [{}, { dryRun: true, dead: false }, { to: 'gerd@example.test' }]) {
    const answer = await call('POST', '/v1/replays', empty)
    assert.deepEqual([answer.status, answer.body.error], [422, "the filter is empty; sender '*' means every message"])
  }
  assert.equal((await call('POST', '/v1/replays', { id: ids[0] })).body.replayed, 1)
  assert.deepEqual(await everpost.states(ids[0]!), ['delivered'])
  assert.equal((await call('GET', '/v1/messages/000000000000000000')).status, 404)
})

test('a replay follows aliases as a submission does, and gives the lifetime that the settings have for who submitted', async () => {
  script.rcpt = { '*': '550 5.1.1 no such user' }
  const { body: { id } } = await call('POST', '/v1/messages', { from: 'quick@a.test', to: ['one@partner.test', 'two@partner.test'], text: 'x' })
  const hours = async () => {
    const [row] = await everpost.sql<{ hours: number }[]>`select round(extract(epoch from expires_at - now()) / 3600)::int as hours from messages where id = ${id}`
    return row!.hours
  }
  assert.equal(await hours(), 7)
  for (const replay of [() => everpost.command('replay', id, '--recipient', 'one@*'), () => call('POST', '/v1/replays', { id, recipient: 'one@*' })]) {
    assert.deepEqual(await everpost.states(id), ['bounced', 'bounced'])
    await everpost.sql`update messages set expires_at = now() where id = ${id}`
    await replay()
    assert.equal(await hours(), 7)
  }
  assert.deepEqual(await everpost.states(id), ['bounced', 'bounced'])
  assert.equal((await call('POST', '/v1/replays', { id, to: 'nobody@listed.test' })).body.error, 'nobody@listed.test: There is no such user here')
  assert.equal((await call('POST', '/v1/replays', { id, to: 'team@example.test' })).body.replayed, 1)
  assert.deepEqual(await everpost.states(id), ['bounced', 'bounced', 'delivered', 'delivered'])
  script.rcpt = {}
})

test('what failed is listed and replayed in pages, without what has no body any more unless it is asked for', async () => {
  script.rcpt = { '*': '550 5.1.1 no such user' }
  const ids: string[] = []
  for (let i = 0; i < 3; i++) ids.push((await call('POST', '/v1/messages', { from: 'pages@a.test', to: [`u${i}@partner.test`] })).body.id)
  for (const each of ids) assert.deepEqual(await everpost.states(each), ['bounced'])
  await everpost.sql`update messages set body_released_at = now() where id = ${ids[1]!}`
  const replay = async (more: object) => {
    const { body } = await call('POST', '/v1/replays', { sender: 'pages@a.test', ...more })
    return [body.messages.map(({ id }: { id: string }) => id), body.last, body.replayed]
  }
  assert.deepEqual(await replay({ dryRun: true, limit: 1 }), [[ids[0]], ids[0], 0])
  assert.deepEqual(await replay({ dryRun: true, limit: 1, after: ids[0] }), [[ids[2]], ids[2], 0])
  assert.deepEqual(await replay({ dryRun: true, after: ids[2] }), [[], null, 0])
  assert.deepEqual(await replay({ dryRun: true, released: true }), [ids, ids[2], 0])
  script.rcpt = {}
  assert.deepEqual(await replay({ limit: 1 }), [[ids[0]], ids[0], 1])
  assert.deepEqual(await everpost.states(ids[0]!), ['delivered'])
  assert.deepEqual(await everpost.states(ids[2]!), ['bounced'])
})

test('a destination is suspended, shown and resumed', async () => {
  const name = `[127.0.0.1]:${peer.port}`
  assert.equal((await call('POST', '/v1/destinations', { name, action: 'suspend' })).status, 422)
  assert.equal((await call('POST', '/v1/destinations', { name, action: 'suspend', time: 3_600_000, why: 'they move' })).status, 200)
  const { body: { id } } = await call('POST', '/v1/messages', { from: 'a@a.test', to: ['s@partner.test'] })
  await until('it waits', async () => (await readRecipients(everpost.sql, id, 1))[0]?.waits)
  const { body } = await call('GET', '/v1/destinations')
  assert.deepEqual(body.control.map((row: { suspendedWhy: string; suspendedBy: string }) => [row.suspendedWhy, row.suspendedBy]), [['they move', 'token:all']])
  assert.equal(body.destinations.find((row: { name: string }) => row.name === name).waiting, 1)
  assert.equal((await call('POST', '/v1/destinations', { name, action: 'resume' })).body.woken, 1)
  await everpost.command('retry', id)
  assert.deepEqual(await everpost.states(id), ['delivered'])
})

test('what can be no name of a destination is refused with what a name looks like, and nothing is stored; what could be one is taken', async () => {
  const limit = async (name: string) => await call('POST', '/v1/destinations', { name, action: 'limit', concurrency: 9 })
  for (const name of ['two words', '*.partner.test', 'ada@partner.test', 'https://partner.test', '[10.0.0.1', 'relay.test:99999', 'lmtp:/run/lmtp']) {
    const { status, body } = await limit(name)
    assert.deepEqual([status, String(body.error).startsWith(`"${name}" can be no destination. A name is a domain or a next hop (partner.test, `)], [422, true], name)
    assert.equal((await call('POST', '/v1/destinations', { name, action: 'resume' })).status, 422)
  }
  const names = [
    '[10.0.0.1]:2525', 'relay.test:587', 'mx1.far.test,mx2.far.test', 'google', 'maildir:example.test', 'lmtp:[127.0.0.1]:24', 'Big Corp', 'Big Corp:2525', 'M\u00fcller.test', 'Odd_Host!.test',
  ]
  assert.equal((await limit(names.at(-1)!)).status, 422)
  // An MX may have such a name; once mail has gone there, it is known.
  await limitDestination(everpost.sql, 'odd_host!.test', { concurrency: 1 })
  for (const name of names) assert.equal((await limit(name)).status, 200, name)
  const { body } = await call('GET', '/v1/destinations')
  const set = body.control.flatMap(({ name, concurrency }: { name: string; concurrency: number }) => (concurrency === 9 ? [name] : []))
  assert.deepEqual(set.sort(), [...names.slice(0, -2), 'xn--mller-kva.test', 'odd_host!.test'].sort())
})

test('a stream whose client does not read is renewed all the same, and ends when its token is revoked', async () => {
  const { sql } = everpost
  const { stdout } = await everpost.command('token', 'create', 'listener', '--scope', 'events')
  const [{ cursor }] = await sql`select pg_snapshot_xmin(pg_current_snapshot())::text || '-0' as cursor` as unknown as [{ cursor: string }]
  const socket = connect(everpost.ports['http']!, '127.0.0.1')
  socket.on('error', () => {}).write(`GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${stdout.trim()}\r\nLast-Event-ID: ${cursor}\r\n\r\n`)
  socket.pause()
  await until('it is open', async () => (await sql`select from subscribers`).length === 1)
  // More than the sockets between hold.
  await sql`
    insert into events (message_id, event, detail) select '000000000000000000', 'action', jsonb_build_object('much', repeat('x', 100000)) from generate_series(1, 400)`
  for (let i = 0; i < 2; i++) {
    await sql`update subscribers set until = now() + interval '1 minute' - interval '20 seconds'`
    await until('it is renewed', async () => (await sql`select from subscribers where until > now() + interval '45 seconds'`).length === 1)
  }
  await everpost.command('token', 'revoke', 'listener')
  const ended = once(socket, 'close')
  socket.resume()
  await ended
  await until('the subscription has ended', async () => (await sql`select from subscribers`).length === 0)
})

test('events stream as they happen, and can be taken up where the stream broke off', async () => {
  const listen = async (headers: Record<string, string>, enough: (text: string) => boolean) => {
    const abort = new AbortController()
    const answer = await fetch(`http://127.0.0.1:${everpost.ports['http']}/v1/events`, { headers: { authorization: `Bearer ${tokens['all']}`, ...headers }, signal: abort.signal })
    let text = ''
    const read = (async () => {
      for await (const chunk of answer.body!) {
        text += Buffer.from(chunk as Uint8Array).toString()
        if (enough(text)) break
      }
    })().catch(() => {})
    return { text: async () => { await read; abort.abort(); return text } }
  }
  const stream = await listen({}, (text) => text.includes('event: delivered'))
  const { body: { id } } = await call('POST', '/v1/messages', { from: 'a@a.test', to: ['hans@example.test'] })
  const text = await stream.text()
  const events = text.split('\n\n').filter((part) => part.includes('data: ')).map((part) => JSON.parse(/data: (.*)/.exec(part)![1]!))
  assert.ok(events.every((event) => event.messageId === id))
  assert.equal(events[0].event, 'accepted')
  const resumed = await (await listen({ 'last-event-id': events[0].cursor }, (text) => text.includes('event: delivered'))).text()
  assert.doesNotMatch(resumed, /event: accepted/)
  // As from a cluster whose database was restored into this one: what comes now would be behind it.
  const ahead = await fetch(`http://127.0.0.1:${everpost.ports['http']}/v1/events?once=true`, { headers: { authorization: `Bearer ${tokens['all']}`, 'last-event-id': '99999999999-1' } })
  assert.deepEqual([ahead.status, await ahead.json()], [422, { error: 'Last-Event-ID is ahead of this database, which was restored: begin again without it' }])
  await until('the subscription has ended', async () => (await everpost.sql`select from subscribers`).length === 0)
  const quiet = await call('POST', '/v1/messages', { from: 'a@a.test', to: ['hans@example.test'] })
  assert.deepEqual(await everpost.states(quiet.body.id), ['delivered'])
  assert.equal((await everpost.sql`select from events where message_id = ${quiet.body.id}`).length, 0, 'nobody listens: nothing is written')
})

test('a message is read octet for octet by whoever has the scope content, and by command; each reading is recorded; without a body it says so', async () => {
  script.rcpt['*'] = '451 4.7.1 not now'
  const raw = `Subject: large\r\nX-Folded: a\r\n b\r\n\r\n${`${'x'.repeat(70)}\r\n`.repeat(8000)}.\r\n`
  const { body: { id } } = await call('POST', '/v1/messages/raw?from=a@a.test&to=b@partner.test', raw)
  await until('it is deferred', async () => (await readRecipients(everpost.sql, id, 1))[0]?.outcome)
  const token = (await everpost.command('token', 'create', 'auditor', '--scope', 'content')).stdout.trim()
  const read = async (path: string) => {
    const answer = await fetch(`http://127.0.0.1:${everpost.ports['http']}/v1/messages/${path}`, { headers: { authorization: `Bearer ${token}` } })
    return { status: answer.status, type: answer.headers.get('content-type'), length: Number(answer.headers.get('content-length')), text: await answer.text() }
  }
  assert.equal((await call('GET', `/v1/messages/${id}/content`)).body.error, 'this token lacks the scope content')
  assert.equal((await read(id)).status, 403)
  assert.equal((await readActions(everpost.sql, id)).length, 0)

  const { status, type, length, text } = await read(`${id}/content`)
  assert.deepEqual([status, type, length], [200, 'message/rfc822', text.length])
  assert.match(text, new RegExp(`^Received: from .*\\r\\n\\tby mx\\.example\\.test \\(Everpost\\) with HTTP id ${id}`))
  assert.ok(text.endsWith(`\r\n${raw}`))
  const head = await read(`${id}/content?headers=true`)
  assert.equal(head.text, text.slice(0, text.indexOf('\r\n\r\n') + 2))
  assert.deepEqual(await everpost.command('cat', id, '--who', 'eve', '--why', 'an abuse report'), { code: 0, stdout: text, stderr: '' })
  assert.deepEqual(await everpost.command('cat', id, '--headers'), { code: 0, stdout: head.text, stderr: '' })
  const actions = await readActions(everpost.sql, id)
  assert.deepEqual(actions.slice(0, 3).map(({ who, action, why, detail }) => [who, action, why, detail]), [
    ['token:auditor', 'read', '', {}], ['token:auditor', 'read', '', { headers: true }], ['eve', 'read', 'an abuse report', {}]])
  assert.match((await everpost.command('show', id)).stdout, / read by eve: an abuse report\n/)

  const delivered = (await call('POST', '/v1/messages/raw?from=a@a.test&to=gone@example.test', 'Subject: x\n\nx\n')).body.id
  await until('its body is released', async () => (await readMessage(everpost.sql, delivered))?.bodyReleasedAt)
  const gone = await read(`${delivered}/content`)
  assert.deepEqual([gone.status, JSON.parse(gone.text).error], [410, 'its body is no longer kept (settings: retention)'])
  const { code, stderr } = await everpost.command('cat', delivered)
  assert.deepEqual([code, /the body of \w+ is no longer kept/.test(stderr)], [1, true])
  assert.equal((await read('000000000000000000/content')).status, 404)
  assert.match((await everpost.command('cat', '000000000000000000')).stderr, /there is no message/)
})
