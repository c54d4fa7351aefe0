import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTransport } from 'nodemailer'
import { dialogue } from '../ingress/testing.ts'
import { startPeer } from '../smtp/testing.ts'
import { readMessage } from '../store/messages.ts'
import { readRecipients } from '../store/recipients.ts'
import { bounceParser, readReport } from './support/bounce-parser.ts'
import { type Everpost, prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

const parser = await bounceParser()
if (typeof parser === 'string') console.log(`without flufl.bounce: ${parser}`)

/** Reports in bob's Maildir, with the line ends that they had on the way. */
const reportsTo = (everpost: Everpost, name = 'bob') => everpost.maildir(name).map((text) => Buffer.from(text.replaceAll('\n', '\r\n'), 'latin1'))

/** Sends with the parameters of RFC 3461, each recipient with its own NOTIFY. */
async function sendWith(everpost: Everpost, recipients: Record<string, string>, dsn: { ret?: 'FULL' | 'HDRS'; envid?: string }, raw = 'Subject: test\r\n\r\nHello.\r\n'): Promise<string> {
  const { connect } = await import('node:net')
  const socket = connect(everpost.ports['smtp']!, '127.0.0.1').setEncoding('utf8')
  let text = ''
  socket.on('data', (chunk) => { text += chunk })
  let seen = 0
  const reply = async () => {
    const line = await until('a reply', () => /^\d{3} .*\r\n/m.test(text.slice(seen)) && text.slice(seen))
    seen = text.length
    return line
  }
  await reply()
  const parameters = `${dsn.ret ? ` RET=${dsn.ret}` : ''}${dsn.envid ? ` ENVID=${dsn.envid}` : ''}`
  let last = ''
  for (const line of [
    'EHLO client.test', `MAIL FROM:<bob@example.test>${parameters}`,
    ...Object.entries(recipients).map(([address, notify]) => `RCPT TO:<${address}>${notify ? ` NOTIFY=${notify}` : ''} ORCPT=rfc822;was-${address}`), 'DATA', `${raw}.`,
  ]) {
    socket.write(`${line}\r\n`)
    last = await reply()
    assert.match(last, /^[23]/)
  }
  socket.destroy()
  return /queued as (\w+)/.exec(last)![1]!
}

test('NOTIFY, RET, ENVID and ORCPT are honoured: one report for each event, on all recipients concerned and no others', async () => {
  const peer = await startPeer({ rcpt: { 'gone@partner.test': '550 5.1.1 no such user', 'closed@partner.test': '550 5.2.1 closed', 'silent@partner.test': '550 5.1.1 gone' } })
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  try {
    await everpost.start()
    const id = await sendWith(everpost, {
      'gone@partner.test': '', 'closed@partner.test': 'FAILURE', 'silent@partner.test': 'NEVER', 'ok@partner.test': 'SUCCESS,FAILURE', 'quiet@partner.test': '', 'alice@example.test': 'SUCCESS',
    }, { ret: 'FULL', envid: 'QQ+2B1' })
    await everpost.states(id)
    assert.deepEqual((await readRecipients(everpost.sql, id, 9)).map((r) => [r.state, r.deadLetter]), [
      ['bounced', false], ['bounced', false], ['bounced', false], ['delivered', false], ['delivered', false], ['delivered', false],
    ])
    await until('both reports arrive', () => everpost.maildir('bob').length === 2)
    const all = reportsTo(everpost)
    const [failed, succeeded] = all.map(readReport).sort((a, b) => Number(a.text.includes('As you asked')) - Number(b.text.includes('As you asked')))
    assert.deepEqual(failed!.groups.slice(1).map((group) => [group['Original-Recipient'], group['Final-Recipient'], group['Action'], group['Status']]), [
      ['rfc822; was-gone@partner.test', 'rfc822; gone@partner.test', 'failed', '5.1.1'],
      ['rfc822; was-closed@partner.test', 'rfc822; closed@partner.test', 'failed', '5.2.1'],
    ])
    assert.equal(failed!.groups[0]!['Original-Envelope-Id'], 'QQ+1')
    assert.deepEqual([failed!.types[2], succeeded!.types[2]], ['message/rfc822', 'text/rfc822-headers'])
    assert.match(failed!.returned, /^Received: from client\.test[\s\S]*Subject: test\r\n\r\nHello\.\r\n/)
    assert.deepEqual(succeeded!.groups.slice(1).map((group) => [group['Final-Recipient'], group['Action']]), [
      ['rfc822; ok@partner.test', 'relayed'], ['rfc822; alice@example.test', 'delivered'],
    ])
    if (typeof parser !== 'string') {
      assert.deepEqual(all.flatMap((octets) => parser(octets).permanent), ['was-closed@partner.test', 'was-gone@partner.test'])
    }
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('the sender is told of a delay, once, also when the worker is killed meanwhile; who wants no such report gets none', async () => {
  const peer = await startPeer({ rcpt: { '*': '451 4.3.0 later' } })
  const everpost = await prepareEverpost({
    reports: { delayAfter: '3s' }, retry: { minimalBackoffTime: '1s', maximalBackoffTime: '1s' }, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
  })
  try {
    const first = await everpost.start()
    const id = await sendWith(everpost, { 'a@partner.test': '', 'b@partner.test': 'FAILURE', 'c@partner.test': 'DELAY' }, {})
    const unwanted = await sendWith(everpost, { 'a@partner.test': 'FAILURE' }, {})
    await until('it was tried', async () => (await readRecipients(everpost.sql, id, 1))[0]!.outcome)
    await everpost.stop(first, 'SIGKILL')
    await everpost.start()
    await until('both marks are set', async () => (await readMessage(everpost.sql, id))!.delayReportedAt && (await readMessage(everpost.sql, unwanted))!.delayReportedAt)
    await until('the report arrives', () => everpost.maildir('bob').length > 0)
    const report = readReport(reportsTo(everpost)[0]!)
    assert.deepEqual(report.groups.slice(1).map((group) => [group['Final-Recipient'], group['Action'], group['Status']]), [
      ['rfc822; a@partner.test', 'delayed', '4.3.0'], ['rfc822; c@partner.test', 'delayed', '4.3.0'],
    ])
    assert.equal(Date.parse(report.groups[1]!['Will-Retry-Until']!), Math.floor((await readMessage(everpost.sql, id))!.expiresAt.getTime() / 1000) * 1000)
    const attempts = async () => (await everpost.sql<{ attempts: number }[]>`select attempts from messages where id = ${id}`)[0]!.attempts
    const sofar = await attempts()
    await until('it is tried on', async () => (await attempts()) >= sofar + 2)
    assert.equal((await everpost.sql`select from messages where kind = 'dsn'`).length, 1)
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('a bounce of a bounce is a dead letter with a copy to the postmaster, and never a report in a circle', async () => {
  const peer = await startPeer({ rcpt: { '*': '550 5.1.1 no such user' } })
  const everpost = await prepareEverpost({
    reports: { postmaster: 'postmaster@example.test' },
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
  })
  try {
    await everpost.start()
    const id = await everpost.send('x@partner.test', 'forged@partner.test')
    await everpost.states(id)
    const [dsn] = await everpost.sql<{ id: string }[]>`select id from messages where parent = ${id}`
    await everpost.states(dsn!.id)
    assert.equal((await readRecipients(everpost.sql, dsn!.id, 1))[0]!.deadLetter, true)
    await until('the copy arrives', () => everpost.maildir('postmaster')[0])
    const copy = readReport(reportsTo(everpost, 'postmaster')[0]!)
    assert.equal(copy.headers['Subject'], 'Postmaster copy: undelivered mail without a sender')
    assert.equal(copy.groups[1]!['Final-Recipient'], 'rfc822; forged@partner.test')
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('an alias that stands for several is reported as expanded, where its success was to be reported, and its members report no success', async () => {
  const peer = await startPeer({ rcpt: { 'gone@partner.test': '550 5.1.1 no such user' }, extensions: ['DSN'] })
  const everpost = await prepareEverpost({
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
    aliases: { 'team@example.test': ['ann@example.test', 'far@partner.test', 'gone@partner.test'], 'only@example.test': 'far@partner.test' },
  })
  try {
    await everpost.start()
    const id = await sendWith(everpost, { 'team@example.test': 'SUCCESS,FAILURE', 'only@example.test': 'SUCCESS' }, { envid: 'E1' })
    await everpost.states(id)
    await until('both reports arrive', () => everpost.maildir('bob').length === 2)
    const [expanded, failed] = reportsTo(everpost).map(readReport).sort((a, b) => Number(b.text.includes('As you asked')) - Number(a.text.includes('As you asked')))
    const fields = (report: ReturnType<typeof readReport>) => report.groups.slice(1).map((group) => [group['Original-Recipient'], group['Final-Recipient'], group['Action'], group['Status']])
    assert.deepEqual(fields(expanded!), [['rfc822; was-team@example.test', 'rfc822; team@example.test', 'expanded', '2.0.0']])
    assert.match(expanded!.text, /stands for several others/)
    assert.deepEqual(fields(failed!), [['rfc822; was-team@example.test', 'rfc822; gone@partner.test', 'failed', '5.1.1']])
    assert.deepEqual(peer.commands.filter((line) => line.startsWith('RCPT')).map((line) => line.replace(' ORCPT=rfc822;', ' ')).sort(), [
      'RCPT TO:<far@partner.test> NOTIFY=FAILURE was-team@example.test', 'RCPT TO:<far@partner.test> NOTIFY=SUCCESS was-only@example.test',
      'RCPT TO:<gone@partner.test> NOTIFY=FAILURE was-team@example.test',
    ])
    assert.equal(everpost.maildir('ann').length, 1)
    assert.deepEqual(everpost.maildir('team'), [])

    // Said at once, while the members wait; and NOTIFY=SUCCESS alone leaves them with NEVER.
    await everpost.command('destination', 'suspend', `[127.0.0.1]:${peer.port}`, '--for', '1h')
    const waiting = await sendWith(everpost, { 'team@example.test': 'SUCCESS' }, {})
    await until('the report arrives before them', () => everpost.maildir('bob').length === 3)
    assert.deepEqual((await readRecipients(everpost.sql, waiting, 9)).map(({ forwardPath, state, notify }) => [forwardPath, state, notify]), [
      ['team@example.test', 'delivered', ['SUCCESS']], ['ann@example.test', 'delivered', ['NEVER']], ['far@partner.test', 'queued', ['NEVER']], ['gone@partner.test', 'queued', ['NEVER']],
    ])
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('a report to a local alias goes where mail to it would go, and so does the copy to the postmaster', async () => {
  const peer = await startPeer({ rcpt: { '*': '550 5.1.1 no such user' } })
  const everpost = await prepareEverpost({
    reports: { postmaster: 'postmaster@example.test' }, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
    aliases: { 'team@example.test': ['ann@example.test', 'ben@example.test'], 'postmaster@example.test': 'ann@example.test' },
  })
  try {
    await everpost.start()
    await everpost.send('x@partner.test', 'team+x@example.test')
    await until('both members get the report', () => everpost.maildir('ann').length === 1 && everpost.maildir('ben').length === 1)
    await everpost.send('x@partner.test', '')
    await until('who is behind the postmaster gets the copy', () => everpost.maildir('ann').length === 2)
    assert.deepEqual([everpost.maildir('team'), everpost.maildir('team+x'), everpost.maildir('postmaster')], [[], [], []])
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('refused mail makes no report, since nothing was accepted', async () => {
  const everpost = await prepareEverpost({ relayNetworks: ['192.0.2.0/24'] })
  try {
    await everpost.start()
    const transport = createTransport({ host: '127.0.0.1', port: everpost.ports['smtp']!, ignoreTLS: true })
    await assert.rejects(transport.sendMail({ envelope: { from: 'forged@partner.test', to: 'x@elsewhere.test' }, raw: 'Subject: x\r\n\r\n' }))
    assert.equal((await everpost.sql`select from messages`).length, 0)
  } finally {
    await everpost.end()
  }
})

test('what a host without BINARYMIME cannot take comes back to its sender, and nothing in it can pass for the end of the report', async () => {
  const peer = await startPeer({})
  const everpost = await prepareEverpost({ routes: [{ domain: '*', nextHop: `[127.0.0.1]:${peer.port}` }] })
  try {
    await everpost.start()
    const header = 'X-A: y\\n.\\nMAIL FROM:<boss@victim.test>\\nRCPT TO:<clerk@victim.test>\\nDATA\\nSubject: pay\\n\\n.\\n\\r\\n'
    for (const ret of ['FULL', 'HDRS']) {
      await dialogue(everpost.ports['smtp']!, `
        > EHLO client.test
        < 250
        > MAIL FROM:<stranger@victim.test> BODY=BINARYMIME RET=${ret}
        < 250
        > RCPT TO:<x@partner.test>
        < 250
        > BDAT ${header.replace(/\\./g, '.').length + 2} LAST
        >> ${header}\\r\\n
        < 250`)
    }
    await until('the reports arrive', () => peer.messages.length === 2)
    for (const message of peer.messages) {
      assert.match(message, /^Subject: Undeliver/m)
      assert.doesNotMatch(message, /\0|\r(?!\n)|(?<!\r)\n/)
    }
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('what is larger than the bound comes back as header fields, even with RET=FULL', async () => {
  const peer = await startPeer({ rcpt: { '*': '550 5.1.1 no such user' } })
  const everpost = await prepareEverpost({ reports: { returnedSize: '10KiB' }, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  try {
    await everpost.start()
    await sendWith(everpost, { 'x@partner.test': '' }, { ret: 'FULL' }, `Subject: big\r\n\r\n${'x'.repeat(70)}\r\n`.repeat(200))
    await until('the report arrives', () => everpost.maildir('bob')[0])
    const report = readReport(reportsTo(everpost)[0]!)
    assert.equal(report.types[2], 'text/rfc822-headers')
    assert.match(report.returned, /Subject: big/)
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('a report that returns more than a host takes goes out again with the header fields alone, instead of becoming a dead letter', async () => {
  const peer = await startPeer({ rcpt: { 'x@partner.test': '550 5.1.1 no such user' } })
  const narrow = await startPeer({ extensions: ['SIZE 4000'] })
  const tiny = await startPeer({ extensions: ['SIZE 500'] })
  const everpost = await prepareEverpost({
    reports: { postmaster: 'postmaster@example.test' },
    routes: Object.entries({ partner: peer, narrow, tiny }).map(([name, { port }]) => ({ domain: `${name}.test`, nextHop: `[127.0.0.1]:${port}` })),
  })
  const send = (from: string, to: string, text: string) => dialogue(everpost.ports['smtp']!, `
    > EHLO client.test
    < 250
    > MAIL FROM:<${from}> RET=FULL
    < 250
    > RCPT TO:<${to}>
    < 250
    > DATA
    < 354
    > Subject: returned
    >
    > ${text}
    > .
    < 250`)
  try {
    await everpost.start()
    // A host without 8BITMIME: what nobody declared goes on to it, but the report is ours, and declared.
    await send('s@partner.test', 'x@partner.test', 'sch\xf6n')
    // One that takes little.
    await send('s@narrow.test', 'x@partner.test', 'x'.repeat(900).concat('\n    > ').repeat(6))
    for (const host of [peer, narrow]) {
      const report = readReport(Buffer.from(await until('the report arrives', () => host.messages[0]), 'latin1'))
      assert.deepEqual([report.defects, report.types[2], report.groups[1]!['Final-Recipient']], [[], 'text/rfc822-headers', 'rfc822; x@partner.test'])
      assert.match(report.returned, /^Received: from client\.test[\s\S]*Subject: returned\r\n$/)
    }
    const first = await everpost.sql<{ parent: string; state: string; outcome: { enhanced: string }; dead: boolean }[]>`
      select parent, r.state, outcome, dead_letter as dead from messages m join recipients r on r.message_id = id where kind = 'dsn' order by id`
    assert.deepEqual(first.map(({ state, outcome, dead }) => [state, outcome.enhanced, dead]).sort(), [
      ['bounced', '5.3.4', false], ['bounced', '5.6.3', false], ['delivered', '2.0.0', false], ['delivered', '2.0.0', false],
    ])
    assert.equal(new Set(first.map(({ parent }) => parent)).size, 2)
    // What is still too much is a dead letter.
    await send('s@tiny.test', 'x@partner.test', 'short')
    await until('the copy arrives', () => everpost.maildir('postmaster')[0])
    const last = await everpost.sql`select dead_letter as dead from recipients where forward_path = 's@tiny.test' order by message_id`
    assert.deepEqual(last.map(({ dead }) => dead), [false, true])
    assert.equal(everpost.maildir('postmaster').length, 1)
  } finally {
    await everpost.end()
    await Promise.all([peer.close(), narrow.close(), tiny.close()])
  }
})
