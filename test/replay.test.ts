import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client, Connection } from '@temporalio/client'
import { startPeer } from '../smtp/testing.ts'
import { readMessage } from '../store/messages.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

const refusing = () => ({ rcpt: { 'there@partner.test': '250 ok', '*': '550 5.1.1 no such user' } as Record<string, string> })

test('replayed twice, after a reset, to another next hop and to another recipient: nobody gets a message twice', async () => {
  const peer = await startPeer(refusing())
  const other = await startPeer({})
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  const { sql } = everpost
  const connection = await Connection.connect({ address: everpost.temporal })
  const { workflow, workflowService } = new Client({ connection })
  const to = (address: string) => [peer, other].flatMap((each) => each.commands).filter((line) => line === `RCPT TO:<${address}>`).length
  try {
    await everpost.start()
    const id = await everpost.send(['gone@partner.test', 'there@partner.test'], 'bob@example.test')
    assert.deepEqual(await everpost.states(id), ['bounced', 'delivered'])

    await until('its workflow has ended', async () => (await workflow.getHandle(id).describe()).status.name === 'COMPLETED')
    const { runId } = await workflow.getHandle(id).describe()
    const history = await workflow.getHandle(id).fetchHistory()
    const first = history.events!.find((event) => event.workflowTaskCompletedEventAttributes)!
    await workflowService.resetWorkflowExecution({
      namespace: 'default', workflowExecution: { workflowId: id, runId }, reason: 'test', requestId: id, workflowTaskFinishEventId: first.eventId!,
    })
    await until('the reset run has ended', async () => {
      const { runId: now, status } = await workflow.getHandle(id).describe()
      return now !== runId && status.name === 'COMPLETED'
    })
    assert.deepEqual([peer.messages.length, to('there@partner.test')], [1, 1])

    const via = await everpost.command('replay', id, '--via', `[127.0.0.1]:${other.port}`, '--why', 'their new host', '--who', 'carla')
    assert.match(via.stdout, /1 of 1 replayed/, via.stderr)
    assert.deepEqual(await everpost.states(id), ['delivered', 'delivered'])
    const again = await everpost.command('replay', id, '--via', `[127.0.0.1]:${other.port}`)
    assert.match(again.stderr, /nothing to replay/)
    assert.deepEqual([other.messages.length, to('there@partner.test')], [1, 1])
    assert.match((await everpost.command('show', id)).stdout, /replay to \[127\.0\.0\.1\]:\d+ by carla \(gone@partner\.test\): their new host/)

    const moved = await everpost.send(['a+x@partner.test', 'b@partner.test'], 'bob@example.test')
    assert.deepEqual(await everpost.states(moved), ['bounced', 'bounced'])
    const redirected = await everpost.command('replay', moved, '--to', 'carol@example.test')
    assert.match(redirected.stdout, /queued again: a\+x@partner\.test, b@partner\.test, as carol@example\.test\n/, redirected.stderr)
    assert.deepEqual(await everpost.states(moved), ['bounced', 'bounced', 'delivered'])
    assert.match((await everpost.command('replay', moved, '--to', 'carol@example.test')).stderr, /nothing to replay/)
    assert.match((await everpost.command('replay', moved)).stderr, /nothing to replay/)
    assert.equal(everpost.maildir('carol').length, 1)
    assert.equal((await readRecipients(sql, moved, 9))[2]!.orcpt, 'rfc822;a+2Bx@partner.test')
  } finally {
    await connection.close()
    await everpost.end()
    await peer.close()
    await other.close()
  }
})

test('bulk replay at a rate: what an operator dropped or bounced stays so, what has no body says so, the rest is due one after the other', async () => {
  const script = refusing()
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  const { sql } = everpost
  try {
    await everpost.start()
    const ids: string[] = []
    for (let i = 0; i < 6; i++) ids.push(await everpost.send(`r${i}@partner.test`, 'bob@example.test'))
    for (const id of ids) assert.deepEqual(await everpost.states(id), ['bounced'])
    await sql`update recipients set dropped = true where message_id = ${ids[0]!}`
    await sql`update messages set body_release_at = now() where id = ${ids[1]!}`
    await until('the janitor has released the body', async () => (await readMessage(sql, ids[1]!))!.bodyReleasedAt)

    script.rcpt = { '*': '451 4.7.1 not now' }
    const spam = await everpost.send('spam@partner.test', '')
    await until('it is deferred', async () => (await readRecipients(sql, spam, 1))[0]!.outcome)
    assert.equal((await everpost.command('bounce', spam, '--why', 'stolen credentials: spam')).code, 0)
    assert.deepEqual(await everpost.states(spam), ['bounced'])

    script.rcpt = {}
    assert.match((await everpost.command('replay', '--all-failed', '--recipient', 'spam@partner.test', '--dry-run')).stderr, /no failed recipient matches/)
    assert.match((await everpost.command('queue', '--dead')).stdout, new RegExp(spam), 'it is seen all the same')
    const dry = await everpost.command('replay', '--all-failed', '--domain', 'partner.test', '--sender', '<>', '--dry-run')
    assert.match(dry.stderr, /no failed recipient matches/)
    const all = ['replay', '--all-failed', '--domain', 'partner.test', '--reply', '5.1.1', '--rate', '3/s']
    const asked = await everpost.command(...all)
    assert.deepEqual([asked.code, asked.stderr.trim()], [64, 'everpost: replay would reach 4 messages; add --yes to do it, or --dry-run to see them'])
    assert.match((await everpost.command(...all, '--dry-run')).stdout, new RegExp(`${ids[1]!}.*cannot be replayed, its body is no longer kept`))
    for (const id of ids) assert.deepEqual(await everpost.states(id, () => true), ['bounced'])
    const { stdout, stderr } = await everpost.command(...all, '--yes')
    assert.match(stdout, /^1 message cannot be replayed: its body is no longer kept \(settings: retention\.failed\)\.$/m, stderr)
    assert.doesNotMatch(stdout, new RegExp(ids[1]!))
    assert.match(stdout, /4 of 5 replayed, the last due in 1s\.\n/)
    for (const id of ids.slice(2)) assert.deepEqual(await everpost.states(id), ['delivered'])
    const begun = await sql<{ at: Date }[]>`select max(begun_at) as at from attempts where message_id = any(${ids.slice(2)}) group by message_id order by 1`
    const spread = begun.at(-1)!.at.getTime() - begun[0]!.at.getTime()
    assert.ok(spread > 700, `spread over ${spread} ms`)
    assert.deepEqual(await everpost.states(ids[0]!, () => true), ['bounced'])
    assert.match((await everpost.command('replay', ids[1]!)).stderr, /no longer kept \(settings: retention\.failed\)/)
    for (const id of [ids[0]!, spam]) {
      assert.match((await everpost.command('replay', id)).stdout, /1 of 1 replayed/)
      assert.deepEqual(await everpost.states(id), ['delivered'])
    }
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('a replay to another address follows aliases, refuses who is unknown here, and knows a recipient however it is written', async () => {
  const peer = await startPeer(refusing())
  const everpost = await prepareEverpost({
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
    localDomains: { 'example.test': { deliver: 'maildir', path: './mail/{localpart}', recipients: ['ann', 'ben', 'carol', 'bob'] } },
    aliases: { 'info@example.test': ['ann@example.test', 'ben@example.test'] },
  })
  const failed = async (...more: string[]) => {
    const id = await everpost.send(['gone@partner.test', ...more], 'bob@example.test')
    await everpost.states(id)
    return id
  }
  try {
    await everpost.start()
    const id = await failed()
    const unknown = await everpost.command('replay', id, '--to', 'nobody@example.test')
    assert.deepEqual([unknown.code, unknown.stderr.trim()], [64, 'everpost: --to nobody@example.test: There is no such user here'])
    assert.match((await everpost.command('replay', id, '--to', 'nobody')).stderr, /--to nobody: no address/)
    assert.deepEqual(await everpost.states(id), ['bounced'])

    const { code, stderr } = await everpost.command('replay', id, '--to', 'INFO@example.test')
    assert.equal(code, 0, stderr)
    assert.deepEqual(await everpost.states(id), ['bounced', 'delivered', 'delivered'])
    assert.deepEqual(['ann', 'ben', 'info'].map((name) => everpost.maildir(name).length), [1, 1, 0])

    const known = await failed('carol@example.test')
    await everpost.command('replay', known, '--to', 'Carol@Example.test')
    assert.deepEqual(await everpost.states(known), ['bounced', 'delivered'])
    assert.match((await everpost.command('replay', known)).stderr, /nothing to replay/)
    assert.deepEqual(['carol', 'Carol'].map((name) => everpost.maildir(name).length), [1, 0])
  } finally {
    await everpost.end()
    await peer.close()
  }
})
