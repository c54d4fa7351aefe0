import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { prepareEverpost } from './support/everpost.ts'

test('a refused recipient comes back as a DSN, and a replay sends to nobody but it', async () => {
  const script = { rcpt: { 'gone@partner.test': '550 5.1.1 no such user' } as Record<string, string> }
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  try {
    await everpost.start()
    const id = await everpost.send(['gone@partner.test', 'there@partner.test'], 'bob@example.test')
    assert.deepEqual(await everpost.states(id), ['bounced', 'delivered'])
    const [dsn] = await everpost.sql<{ id: string }[]>`select id from messages where parent = ${id}`
    assert.deepEqual(await everpost.states(dsn!.id), ['delivered'])
    const [report] = everpost.maildir('bob')
    assert.match(report!, /^Return-Path: <>\n/)
    assert.match(report!, /Final-Recipient: rfc822; gone@partner\.test\nAction: failed\nStatus: 5\.1\.1\n/)

    script.rcpt = {}
    const { stdout } = await everpost.command('replay', id)
    assert.match(stdout, /queued again: gone@partner\.test/)
    assert.deepEqual(await everpost.states(id), ['delivered', 'delivered'])
    assert.equal(peer.messages.length, 2)
    assert.equal(peer.commands.filter((line) => line === 'RCPT TO:<there@partner.test>').length, 1)
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('a message with the null reverse-path becomes a dead letter, and no report is made', async () => {
  const everpost = await prepareEverpost({ retry: { minimalBackoffTime: '200ms', maximalQueueLifetime: '1s', bounceQueueLifetime: '1s' }, routes: [{ domain: 'dead.test', nextHop: '[127.0.0.1]:1' }] })
  try {
    await everpost.start()
    const id = await everpost.send('x@dead.test', '')
    assert.deepEqual(await everpost.states(id), ['expired'])
    const [row] = await everpost.sql<{ dead: boolean; others: number }[]>`
      select dead_letter as dead, (select count(*) from messages where parent is not null) as others from recipients where message_id = ${id}`
    assert.deepEqual([row!.dead, row!.others], [true, 0])
    const told = await everpost.send('y@dead.test', 'bob@example.test')
    assert.deepEqual(await everpost.states(told), ['expired'])
    const dead = await everpost.command('queue', '--dead')
    assert.match(dead.stdout, new RegExp(`^${id} .* <> +x@dead\\.test +kept\n1 of 1 message`, 'm'), dead.stderr)
    assert.match((await everpost.command('queue', '--dead', '--domain', 'other.test')).stdout, /no dead letters/)
    assert.equal((await everpost.command('queue', '--dead', '--status', 'held')).code, 64)
    assert.match((await everpost.command('replay', '--all-failed', '--dead', '--dry-run')).stdout, new RegExp(`^${id}.*\n1 of 1 would be replayed`))
  } finally {
    await everpost.end()
  }
})
