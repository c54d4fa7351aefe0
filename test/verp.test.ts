import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dialogue, openClient } from '../ingress/testing.ts'
import { type Script, startPeer } from '../smtp/testing.ts'
import { acceptMessage } from '../store/accept.ts'
import { readAttempts } from '../store/attempts.ts'
import { readMessage } from '../store/messages.ts'
import { readRecipients } from '../store/recipients.ts'
import { readReport } from './support/bounce-parser.ts'
import { type Everpost, prepareEverpost } from './support/everpost.ts'
import { newMessage } from './support/messages.ts'
import { until } from './support/until.ts'

const reports = (everpost: Everpost) => everpost.maildir('owner').map((text) => ({ returnedTo: /^To: <(.*)>$/m.exec(text)![1]!, ...readReport(Buffer.from(text.replaceAll('\n', '\r\n'), 'latin1')) }))

test('VERP: a hold amid the dots lets the reply to one come in and stops the others, and the command says so', async () => {
  const script: Script = { dot: 'silent' }
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }], reports: { verp: { senders: ['owner@always.test'] } } })
  try {
    await everpost.start()
    const id = await everpost.send(['a@partner.test', 'b@partner.test', 'c@partner.test'], 'owner@always.test')
    await until('the first is at its dot', () => peer.messages.length === 1)
    const hold = await everpost.command('hold', id)
    assert.deepEqual([hold.code, hold.stdout], [0, 'hold: 1 message done.\n'])
    assert.match(hold.stderr, new RegExp(`^${id}: the reply to the final dot is awaited for a@partner\\.test, left alone until then$`, 'm'))
    assert.equal((await everpost.command('drop', id, '--recipient', 'b@partner.test')).stdout, 'drop: 1 message done.\n')
    delete script.dot
    peer.each('250 2.0.0 taken')
    await until('its attempt has ended', async () => (await readAttempts(everpost.sql, id, 9)).every(({ endedAt }) => endedAt))
    assert.equal((await readRecipients(everpost.sql, id, 9))[2]!.state, 'queued')
    await everpost.command('release', id)
    assert.deepEqual(await everpost.states(id), ['delivered', 'bounced', 'delivered'])
    assert.deepEqual([peer.messages.length, (await readAttempts(everpost.sql, id, 9)).map(({ lost }) => lost)], [2, [false, false]])
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('VERP: a worker that dies with the last record leaves no attempt open for ever', async () => {
  const peer = await startPeer()
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }], reports: { verp: { senders: ['owner@always.test'] } } })
  try {
    const victim = await everpost.start('serve', { NODE_OPTIONS: `--import ${new URL('./chaos/faults/install.js', import.meta.url).href}`, EVERPOST_CHAOS_POINT: 'W5:SIGKILL:1' })
    const id = await everpost.send(['a@partner.test', 'b@partner.test'], 'owner@always.test')
    await until('it dies before its attempt is recorded', () => victim.signalCode === 'SIGKILL')
    assert.deepEqual(peer.taken, ['a@partner.test', 'b@partner.test'])
    await everpost.start()
    await until('it is finished', async () => (await readMessage(everpost.sql, id))!.state === 'finished', 150_000)
    const attempts = await readAttempts(everpost.sql, id, 9)
    assert.deepEqual(attempts.map(({ endedAt, lost, dotAt }) => [endedAt !== null, lost, dotAt !== null]), [[true, true, true], [true, false, true]])
    // The reply to the last dot was lost with the worker: that one alone is sent again, and the records say why.
    assert.deepEqual(peer.taken.slice(2), ['b@partner.test'])
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('VERP: each recipient gets the mail with a reverse-path of its own, in a transaction of its own, and so goes each report', async () => {
  const peer = await startPeer({ rcpt: { 'gone@partner.test': '550 5.1.1 no such user', 'shut@partner.test': '550 5.2.1 closed' } })
  const everpost = await prepareEverpost({
    relayNetworks: ['127.0.0.1'], routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
    localDomains: { 'example.test': { deliver: 'maildir', path: './mail/{localpart}' } }, reports: { verp: { senders: ['owner@always.test'] } },
  })
  try {
    await everpost.start()
    const port = everpost.ports['smtp']!
    const replies = await dialogue(port, `
      > EHLO client.test
      < 250
      > MAIL FROM:<> XVERP
      < 503 5.5.4
      > MAIL FROM:<owner@example.test> XVERP=--
      < 250
      > RSET
      < 250
      > MAIL FROM:<owner@example.test> XVERP
      < 250
      > RCPT TO:<a@partner.test>
      < 250
      > RCPT TO:<gone@partner.test>
      < 250
      > RCPT TO:<b@partner.test>
      < 250
      > RCPT TO:<shut@partner.test>
      < 250
      > RCPT TO:<here@example.test>
      < 250
      > DATA
      < 354
      > Subject: news
      > .
      < 250 2.0.0`)
    const id = /queued as (\w+)/.exec(replies.at(-1)!)![1]!
    assert.deepEqual(await everpost.states(id), ['delivered', 'bounced', 'delivered', 'bounced', 'delivered'])
    assert.deepEqual(peer.commands.filter((line) => line.startsWith('MAIL')).map((line) => /<(.*)>/.exec(line)![1]), [
      'owner+a=partner.test@example.test', 'owner+gone=partner.test@example.test', 'owner+b=partner.test@example.test', 'owner+shut=partner.test@example.test',
    ])
    assert.deepEqual(peer.taken, ['a@partner.test', 'b@partner.test'])
    assert.ok(peer.connections < 4, `${peer.connections} connections for four transactions`)
    assert.equal((await readAttempts(everpost.sql, id, 9)).length, 2, 'one attempt for each next hop')
    assert.match(everpost.maildir('here')[0]!, /^Return-Path: <owner\+here=example\.test@example\.test>/)

    await until('a report for each that failed', () => everpost.maildir('owner').length === 2)
    assert.deepEqual(reports(everpost).map(({ returnedTo, groups }) => [returnedTo, groups.slice(1).map((group) => group['Final-Recipient'])]).sort(), [
      ['owner+gone=partner.test@example.test', ['rfc822; gone@partner.test']], ['owner+shut=partner.test@example.test', ['rfc822; shut@partner.test']],
    ])

    // By the settings, whoever brings it.
    peer.commands.length = 0
    await everpost.states(await everpost.send(['a@partner.test', 'b@partner.test'], 'owner@always.test'))
    assert.deepEqual(peer.commands.filter((line) => line.startsWith('MAIL')).map((line) => /<(.*)>/.exec(line)![1]), ['owner+a=partner.test@always.test', 'owner+b=partner.test@always.test'])

    // A client that says what is no address in ORCPT gets nothing of it into a header section, nor keeps its message from being stored.
    const odd = await dialogue(port, `
      > EHLO client.test
      < 250
      > MAIL FROM:<owner@always.test>
      < 250
      > RCPT TO:<odd@example.test> ORCPT=rfc822;a+0D+0AX-Injected:+20x+00
      < 250
      > DATA
      < 354
      > .
      < 250 2.0.0`)
    assert.deepEqual(await everpost.states(/queued as (\w+)/.exec(odd.at(-1)!)![1]!), ['delivered'])
    assert.match(everpost.maildir('odd')[0]!, /^Return-Path: <owner\+odd=example\.test@always\.test>\nReceived: /)
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('VERP is offered to nobody who may not relay', async () => {
  const everpost = await prepareEverpost({ relayNetworks: ['192.0.2.0/24'] })
  try {
    await everpost.start('ingress')
    const client = openClient(everpost.ports['smtp']!)
    await client.reply()
    client.send('EHLO client.test\r\n')
    assert.doesNotMatch(await client.reply(), /XVERP/)
    client.send('MAIL FROM:<a@example.test> XVERP\r\n')
    assert.match(await client.reply(), /^555 5\.5\.4/)
    client.close()
  } finally {
    await everpost.end()
  }
})

test('a message whose recipients are all settled, but which its worker left queued when it died, is finished when it is driven again', async () => {
  const peer = await startPeer({ rcpt: { '*': '451 4.7.1 not now' } })
  const everpost = await prepareEverpost({ retry: { minimalBackoffTime: '1h' }, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  const { sql } = everpost
  const leave = (ids: string[]) => sql`
    with left_so as (update recipients set state = 'delivered', settled_at = now(), leased_until = null where message_id = any(${ids}))
    update messages set drive_at = now() where id = any(${ids})`
  try {
    // One whose workflow runs, and one whose workflow has ended, or was lost.
    const child = await everpost.start()
    const running = await everpost.send('a@partner.test')
    await until('it is deferred', async () => (await readRecipients(sql, running, 1))[0]!.outcome)
    await everpost.stop(child)
    const ended = newMessage(['b@partner.test'])
    await acceptMessage(sql, ended)
    await leave([running, ended.id])
    await everpost.start()
    for (const id of [running, ended.id]) {
      await until('it is finished', async () => (await readMessage(sql, id))!.state === 'finished')
      const { bodyReleaseAt, driveAt } = (await readMessage(sql, id))!
      assert.deepEqual([bodyReleaseAt !== null, driveAt], [true, null])
    }
  } finally {
    await everpost.end()
    await peer.close()
  }
})
