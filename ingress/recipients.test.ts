import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { after, mock, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { comparable } from '../mail/address.ts'
import type { Recipient } from '../mail/envelope.ts'
import { startPeer } from '../smtp/testing.ts'
import { type Settings, type SettingsFile, settingsSchema } from '../settings/schema.ts'
import { removeAlias, setAlias } from '../store/aliases.ts'
import { until } from '../test/support/until.ts'
import { createCallout } from './callout.ts'
import { addRecipients, createRecipients } from './recipients.ts'
import { reply } from './reply.ts'
import { dialogue, testIngress } from './testing.ts'

const written: SettingsFile = {
  localDomains: {
    'example.test': { deliver: 'maildir', path: '/nowhere/{localpart}', recipients: ['alice', 'Bob'] },
    'open.test': { deliver: 'maildir', path: '/nowhere/{localpart}' },
    'caught.test': { deliver: 'maildir', path: '/nowhere/{localpart}', recipients: ['carol'], catchAll: 'alice@example.test' },
  },
  relayDomains: { 'partner.test': { recipients: ['Dave@partner.test'] }, 'any.test': {} },
  aliases: {
    'info@example.test': ['alice@example.test', 'dan@partner.test'],
    'alice@example.test': ['alice@example.test', 'copy@elsewhere.test'],
    'staff@example.test': ['info@example.test', 'bob@example.test', 'staff@example.test'],
    'ring@example.test': 'rong@example.test',
    'rong@example.test': 'ring@example.test',
    'abuse@example.test': 'bob@example.test',
  },
  postmaster: 'bob@example.test',
}
/** As keepAliases does it, with those of the settings alone. */
function aliasesOf(settings: Settings) {
  const aliases = new Map(Object.entries(settings.aliases).map(([address, to]) => [comparable(address), typeof to === 'string' ? [to] : to]))
  return { get: (address: string) => aliases.get(address), complete: () => true }
}
const parsed = settingsSchema.parse(written)
const recipients = createRecipients(parsed, aliasesOf(parsed), async () => null)
async function find(path: string, mayRelay = false): Promise<string[] | string> {
  const found = await recipients.find(path, mayRelay)
  return 'refused' in found ? `${found.refused.code} ${found.refused.enhanced}` : found.addresses
}

test('local users, with tag and in any case; unknown ones are 550 5.1.1', async () => {
  assert.deepEqual(await find('BOB@Example.test'), ['BOB@Example.test'])
  assert.deepEqual(await find('"bob"+x@example.test'), '550 5.1.1')
  assert.deepEqual(await find('bob+lists@example.test'), ['bob+lists@example.test'])
  assert.equal(await find('+bob@example.test'), '550 5.1.1')
  assert.equal(await find('eve@example.test'), '550 5.1.1')
  assert.deepEqual(await find('eve@open.test'), ['eve@open.test'])
})

test('aliases: one to many, here and elsewhere, of aliases, of themselves; loops end', async () => {
  assert.deepEqual(await find('info@example.test'), ['alice@example.test', 'dan@partner.test', 'copy@elsewhere.test'])
  assert.deepEqual(await find('INFO+x@example.test'), await find('info@example.test'))
  assert.deepEqual((await find('staff@example.test') as string[]).sort(), ['alice@example.test', 'bob@example.test', 'copy@elsewhere.test', 'dan@partner.test', 'staff@example.test'])
  assert.equal(await find('ring@example.test'), '550 5.4.6')
})

test('while the aliases of Postgres are not known, nobody is unknown for good', async () => {
  const early = createRecipients(parsed, { get: () => undefined, complete: () => false }, async () => null)
  assert.equal((await early.find('eve@example.test', false) as { refused: { code: number } }).refused.code, 451)
  const lmtp = settingsSchema.parse({ localDomains: { 'lmtp.test': { deliver: 'lmtp', host: '127.0.0.1', port: 24, callout: true } } })
  const asking = createRecipients(lmtp, { get: () => undefined, complete: () => false }, async () => reply(550, '5.1.1', 'no such mailbox'))
  assert.equal((await asking.find('eve@lmtp.test', false) as { refused: { code: number } }).refused.code, 451, 'whatever the LMTP server says')
})

test('of recipients of one message only those that are the same in all that was asked are one', () => {
  const known: Recipient[] = []
  const add = (path: string, addresses: string[], notify: Recipient['notify'] = [], orcpt: string | null = null) => addRecipients(known, path, addresses, { notify, orcpt })
  add('ann@a.test', ['ann@a.test'])
  add('ann@a.test', ['ann@a.test'])
  add('ann@a.test', ['ann@a.test'], ['NEVER'])
  add('ann@a.test', ['ann@a.test'], [], 'rfc822;x@a.test')
  add('team@a.test', ['ann@a.test', 'bob@a.test'], ['SUCCESS'])
  add('team@a.test', ['team@a.test'], ['SUCCESS'])
  assert.deepEqual(known.map(({ n, forwardPath, notify, orcpt, expanded }) => [n, forwardPath, notify.join(), orcpt, expanded]), [
    [0, 'ann@a.test', '', null, undefined], [1, 'ann@a.test', 'NEVER', null, undefined], [2, 'ann@a.test', '', 'rfc822;x@a.test', undefined],
    [3, 'team@a.test', 'SUCCESS', null, 2], [4, 'ann@a.test', 'NEVER', 'rfc822;team@a.test', undefined], [5, 'bob@a.test', 'NEVER', 'rfc822;team@a.test', undefined],
    [6, 'team@a.test', 'SUCCESS', null, undefined]])
})

test('aliases that grow without end are refused', async () => {
  const aliases = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`a${i}@example.test`, `a${i + 1}@example.test`]))
  const endless = createRecipients(parsed, aliasesOf(settingsSchema.parse({ aliases })), async () => null)
  assert.deepEqual((await endless.find('a0@example.test', false) as { refused: { code: number } }).refused.code, 451)
})

test('an alias without targets, alone or behind another, is said to stand for nobody', async () => {
  const empty = createRecipients(parsed, { get: (address) => ({ 'a@example.test': ['b@example.test'], 'b@example.test': [] })[address], complete: () => true }, async () => null)
  for (const path of ['a@example.test', 'b@example.test']) {
    const { refused } = await empty.find(path, false) as { refused: { code: number; lines: string[] } }
    assert.deepEqual([refused.code, refused.lines], [550, ['This address is an alias that stands for nobody']])
  }
})

test('programs and files are no aliases', () => {
  for (const target of ['|/bin/sh', '/var/mail/x', ':include:/etc/passwd', '"|cmd"']) {
    assert.equal(settingsSchema.safeParse({ aliases: { 'a@example.test': target } }).success, false, target)
  }
})

test('catch-all, postmaster and abuse', async () => {
  assert.deepEqual(await find('carol@caught.test'), ['carol@caught.test'])
  assert.deepEqual(await find('whoever@caught.test'), ['alice@example.test', 'copy@elsewhere.test'])
  assert.deepEqual(await find('postmaster'), ['bob@example.test'])
  assert.deepEqual(await find('Postmaster@caught.test'), ['bob@example.test'])
  assert.deepEqual(await find('abuse@example.test'), ['bob@example.test'])
  assert.deepEqual(await find('abuse@open.test'), ['abuse@open.test'])
})

test('postmaster and the catch-all stand in where the LMTP server says that nobody is there, and not where it cannot say', async () => {
  const ask = async (path: string, more: SettingsFile, answer: ReturnType<typeof reply> | null = reply(550, '5.1.1', 'no such mailbox')) => {
    const lmtp = { deliver: 'lmtp', host: '127.0.0.1', port: 24, callout: true } as const
    const settings = settingsSchema.parse({ localDomains: { 'lmtp.test': lmtp, 'caught.test': { ...lmtp, catchAll: 'all@lmtp.test' } }, ...more })
    const found = await createRecipients(settings, aliasesOf(settings), async () => answer).find(path, false)
    return 'refused' in found ? `${found.refused.code} ${found.refused.enhanced}` : found.addresses.join()
  }
  const postmaster = { postmaster: 'ops@elsewhere.test' }
  for (const path of ['postmaster', 'PostMaster@lmtp.test', 'abuse@lmtp.test', 'postmaster@caught.test']) assert.equal(await ask(path, postmaster), 'ops@elsewhere.test', path)
  assert.equal(await ask('eve@lmtp.test', postmaster), '550 5.1.1')
  for (const path of ['postmaster', 'postmaster@lmtp.test']) assert.equal(await ask(path, { postmaster: 'postmaster@lmtp.test' }), '550 5.1.1', 'nobody stands in for themselves')
  assert.equal(await ask('eve@caught.test', {}, reply(550, '5.2.2', 'full')), '550 5.2.2', 'a full mailbox is there')
  assert.equal(await ask('postmaster@lmtp.test', {}), '550 5.1.1', 'to take it would be to return it')
  for (const path of ['eve@caught.test', 'postmaster@caught.test']) assert.equal(await ask(path, {}), 'all@lmtp.test', path)
  for (const path of ['postmaster', 'postmaster@lmtp.test']) assert.equal(await ask(path, postmaster, null), 'postmaster@lmtp.test', 'the mailbox that is there')
  const aliases = { 'info@lmtp.test': 'bob@lmtp.test', 'both@lmtp.test': ['both@lmtp.test', 'bob@lmtp.test'] }
  assert.deepEqual([await ask('info@lmtp.test', { aliases }), await ask('both@lmtp.test', { aliases })], ['bob@lmtp.test', 'both@lmtp.test,bob@lmtp.test'], 'where an alias leads is not asked')
  for (const path of ['postmaster@lmtp.test', 'eve@caught.test']) assert.equal(await ask(path, postmaster, reply(450, '4.2.1', 'later')), '450 4.2.1', path)
})

test('a host that only relays has a postmaster, too', async () => {
  const ask = async (path: string, written: SettingsFile) => {
    const settings = settingsSchema.parse({ relayDomains: { 'partner.test': {} }, ...written })
    const found = await createRecipients(settings, aliasesOf(settings), async () => null).find(path, false)
    return 'refused' in found ? `${found.refused.code} ${found.refused.enhanced}` : found.addresses.join()
  }
  assert.equal(await ask('Postmaster', { postmaster: 'ops@elsewhere.test' }), 'ops@elsewhere.test')
  assert.equal(await ask('ops@elsewhere.test', { postmaster: 'ops@elsewhere.test' }), '550 5.7.1', 'by that name alone')
  assert.equal(await ask('postmaster', {}), '550 5.7.1', 'where nobody is named')
  const settings = settingsSchema.parse({ hostname: 'mx.example.test' })
  assert.deepEqual(await createRecipients(settings, aliasesOf(settings), async () => null).find('postmaster', true), { addresses: ['postmaster@mx.example.test'] })
})

test('relay domains are open to all, with their list; the rest of the world only to those who may relay', async () => {
  assert.deepEqual(await find('dave@partner.test'), ['dave@partner.test'])
  assert.equal(await find('eve@partner.test'), '550 5.1.1')
  assert.deepEqual(await find('x@any.test'), ['x@any.test'])
  assert.equal(await find('x@elsewhere.test'), '550 5.7.1')
  assert.deepEqual(await find('x@elsewhere.test', true), ['x@elsewhere.test'])
})

test('an alias keeps the address that the sender knows as ORCPT', async () => {
  const edge = await testIngress(written)
  after(edge.end)
  const replies = await dialogue(edge.port('smtp'), `
    > EHLO c.test
    < 250
    > MAIL FROM:<s@a.test>
    < 250
    > RCPT TO:<info@example.test> NOTIFY=FAILURE
    < 250 2.1.5
    > RCPT TO:<nobody@example.test>
    < 550 5.1.1
    > DATA
    < 354
    > .
    < 250 2.0.0`)
  const stored = await edge.stored(replies.at(-1)!)
  assert.deepEqual(stored.recipients.map(({ forwardPath, notify, orcpt }) => [forwardPath, notify.join(), orcpt]), [
    ['alice@example.test', 'FAILURE', 'rfc822;info@example.test'],
    ['dan@partner.test', 'FAILURE', 'rfc822;info@example.test'],
    ['copy@elsewhere.test', 'FAILURE', 'rfc822;info@example.test'],
  ])
})

test('aliases in Postgres: made, changed and removed, and seen within seconds; those of the settings win', async () => {
  const edge = await testIngress(written)
  after(edge.end)
  const targets = async () => {
    const [, , reply] = await dialogue(edge.port('smtp'), '> EHLO c.test\n< 250\n> MAIL FROM:<s@a.test>\n< 250\n> RCPT TO:<New@example.test>\n< ')
    return reply!.slice(0, 9)
  }
  assert.equal(await targets(), '550 5.1.1')
  await setAlias(edge.sql, 'new@example.test', ['bob@example.test'])
  await setAlias(edge.sql, 'info@example.test', ['eve@elsewhere.test'])
  await until('the alias is seen', async () => (await targets()) === '250 2.1.5')
  const replies = await dialogue(edge.port('smtp'), `
    > EHLO c.test
    < 250
    > MAIL FROM:<s@a.test>
    < 250
    > RCPT TO:<new+x@example.test>
    < 250
    > RCPT TO:<info@example.test>
    < 250
    > DATA
    < 354
    > .
    < 250 2.0.0`)
  assert.deepEqual((await edge.stored(replies.at(-1)!)).recipients.map((each) => each.forwardPath), ['bob@example.test', 'alice@example.test', 'dan@partner.test', 'copy@elsewhere.test'])
  assert.ok(await removeAlias(edge.sql, 'new@example.test'))
  await until('it is gone', async () => (await targets()) === '550 5.1.1')
})

test('callout: the LMTP server is asked once, unless it cannot be asked', async () => {
  const none = '550 5.1.1 no such mailbox'
  const peer = await startPeer({ rcpt: { 'gone@lmtp.test': none, 'postmaster@lmtp.test': none, 'busy@lmtp.test': '450 4.2.1 later', 'brief@lmtp.test': '452 full', 'short@lmtp.test': '553 no' } })
  const other = await startPeer({ mail: '450 4.7.1 not now', rcpt: { 'there@lmtp.test': '550 5.1.1 not here' } }, '127.0.0.1')
  after(() => Promise.all([peer.close(), other.close()]))
  const lmtp = { deliver: 'lmtp', host: '127.0.0.1', callout: true } as const
  const free = createServer()
  await new Promise<void>((resolve) => free.listen(0, '127.0.0.1', resolve))
  const { port } = free.address() as { port: number }
  await new Promise((resolve) => free.close(resolve))
  const settings = settingsSchema.parse({ localDomains: { 'lmtp.test': { ...lmtp, port: peer.port }, 'away.test': { ...lmtp, port } }, postmaster: 'ops@elsewhere.test' })
  const asking = createRecipients(settings, aliasesOf(settings), createCallout('mx.example.test'))
  const ask = async (path: string) => {
    const found = await asking.find(path, false)
    return 'refused' in found ? `${found.refused.code} ${found.refused.enhanced} ${found.refused.lines[0]}` : 'taken'
  }
  for (let i = 0; i < 2; i++) {
    assert.equal(await ask('there@lmtp.test'), 'taken')
    assert.equal(await ask('gone@lmtp.test'), '550 5.1.1 no such mailbox')
    assert.equal(await ask('postmaster'), 'taken')
    assert.match(await ask('busy@lmtp.test'), /^450 4\.2\.1 later/)
    assert.match(await ask('x@away.test'), /^451 4\.4\.1/)
  }
  assert.equal(peer.connections, 5)
  assert.ok(peer.commands.includes('MAIL FROM:<>') && !peer.commands.some((line) => line.includes('SMTPUTF8')))
  assert.deepEqual([await ask('brief@lmtp.test'), await ask('short@lmtp.test')], ['450 4.2.0 full', '550 5.1.1 no'])
  assert.equal(await ask('j\u00f6rg@lmtp.test'), 'taken')
  assert.ok(peer.commands.includes('MAIL FROM:<> SMTPUTF8'))
  const answer = await createCallout('mx.example.test')({ host: '127.0.0.1', port: other.port }, 'there@lmtp.test')
  assert.deepEqual([answer!.code, other.commands.some((line) => line.startsWith('RCPT'))], [451, false], 'one that takes no mail now is not asked for a recipient')
  const both = createCallout('mx.example.test')
  for (const [port, code] of [[peer.port, undefined], [other.port, 451]] as const) assert.equal((await both({ host: '127.0.0.1', port }, 'there@lmtp.test'))?.code, code, 'each server for itself')
})

test('callout: a server that says nothing is waited for no longer than ten seconds', async () => {
  const asked: Socket[] = []
  const server = createServer((socket) => void asked.push(socket.on('error', () => {}).resume())).unref()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const answer = createCallout('mx.example.test')({ host: '127.0.0.1', port: (server.address() as { port: number }).port }, 'bob@lmtp.test')
    await once(server, 'connection')
    mock.timers.tick(10_000)
    await once(asked[0]!, 'close', { signal: AbortSignal.timeout(5000) })
    assert.equal((await answer)!.code, 451)
  } finally {
    mock.timers.reset()
    asked[0]?.destroy()
    server.close()
  }
})

test('callout: what is no reply, or answers nothing, says no of nobody: it is 451, and asked again', async () => {
  const says: Record<string, string[]> = {
    'a word for a code': ['220 hi', '250 hi', '250 Ok', 'garbage'],
    'a code of nowhere': ['220 hi', '250 hi', '250 Ok', '650 5.1.1 no such mailbox'],
    'a line before the greeting': ['NOTICE: busy\r\n220 hi', '250 hi', '250 Ok', '250 Ok'],
    'a reply to nothing': ['220 hi\r\n220 hi', '250 hi', '550 5.1.1 no such mailbox', '250 Ok'],
    'neither yes nor no': ['220 hi', '250 hi', '250 Ok', '354 go on'],
    'half a reply': ['220 hi', '250 hi', '250 Ok', '550-5.1.1 no such'],
  }
  for (const [name, replies] of Object.entries(says)) {
    let connections = 0
    const server = createServer((socket) => {
      connections++
      const left = [...replies]
      const answer = () => {
        socket.write(`${left.shift()}\r\n`)
        if (left.length === 0) socket.end()
      }
      socket.unref().on('error', () => {}).on('data', (octets) => octets.toString().split('\r\n').slice(1).forEach(answer))
      answer()
    })
    await new Promise<void>((resolve) => server.unref().listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    const callout = createCallout('mx.example.test')
    for (let i = 1; i <= 2; i++) {
      const answer = await Promise.race([callout({ host: '127.0.0.1', port }, 'bob@lmtp.test'), sleep(5000, 'no answer', { ref: false })])
      assert.deepEqual([answer, connections], [reply(451, '4.4.1', 'The recipient cannot be checked now; try again later'), i], name)
    }
  }
})
