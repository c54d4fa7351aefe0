import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client, Connection } from '@temporalio/client'
import { startPeer } from '../smtp/testing.ts'
import { readActions } from '../store/actions.ts'
import { readMessage } from '../store/messages.ts'
import { readRecipients } from '../store/recipients.ts'
import { controlUpdates, statusQuery } from '../workflows/interface.ts'
import { prepareEverpost } from './support/everpost.ts'
import { testTemporal } from './support/temporal.ts'
import { until } from './support/until.ts'

const slowRetry = { minimalBackoffTime: '1h', maximalBackoffTime: '2h' }

test('on hold a message is neither tried nor expired, also after Temporal was wiped; released, it goes out at once', async () => {
  const temporal = await testTemporal()
  await temporal.start()
  const script = { rcpt: { '*': '451 4.7.1 not now' } as Record<string, string> }
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] }, temporal.address)
  const { sql } = everpost
  try {
    const child = await everpost.start()
    const id = await everpost.send('x@partner.test')
    await everpost.states(id, (states) => states[0] === 'queued')
    const hold = await everpost.command('hold', id, '--why', 'suspicious')
    assert.deepEqual([hold.code, hold.stdout], [0, 'hold: 1 message done.\n'], hold.stderr)
    assert.match((await everpost.command('hold', id)).stderr, /hold refused: it is on hold already/)
    assert.match((await everpost.command('retry', id)).stderr, /on hold; release it/)
    const connection = await Connection.connect({ address: temporal.address })
    const handle = new Client({ connection }).workflow.getHandle(id)
    await until('its workflow has heard of it', async () => /^on hold since .* until an operator releases it$/.test((await handle.query(statusQuery)).next!.what))
    // Temporal's own command line asks the workflow, which looks at what Postgres has.
    await assert.rejects(handle.executeUpdate(controlUpdates.hold, { args: [{ who: 'me', why: '' }] }), ({ cause }: Error) => /on hold already/.test((cause as Error).message))
    await connection.close()
    const held = await everpost.command('show', id)
    assert.match(held.stdout, /on hold since .*\n/)
    assert.match(held.stdout, /hold by \S+: suspicious/)

    await everpost.stop(child)
    await temporal.stop()
    for (const action of ['release', 'hold']) {
      const { code, stdout, stderr } = await everpost.command(action, id)
      assert.deepEqual([code, stdout], [0, `${action}: 1 message done.\n`], 'done without Temporal')
      assert.match(stderr, /^Temporal does not answer at \S+: .*ECONNREFUSED.*\. Their workflows hear of it later\.$/m)
    }
    temporal.wipe()
    await temporal.start()
    await everpost.start()
    const before = (await readMessage(sql, id))!
    assert.ok(before.heldAt)
    // The lifetime ends while it is on hold; a workflow that was started anew leaves it alone.
    await sql`update messages set expires_at = now(), held_at = now() - interval '1 hour', drive_at = now() where id = ${id}`
    await sql`update recipients set next_attempt_at = now() where message_id = ${id}`
    await until('the outbox has driven it', async () => (await readMessage(sql, id))!.driveAt === null || (await readMessage(sql, id))!.driveAt! > new Date())
    const seen = peer.commands.length
    const other = await everpost.send('carol@example.test')
    assert.deepEqual(await everpost.states(other), ['delivered'])
    assert.deepEqual([peer.commands.length, await everpost.states(id, () => true)], [seen, ['queued']])

    script.rcpt = {}
    assert.equal((await everpost.command('release', id)).stdout, 'release: 1 message done.\n')
    assert.deepEqual(await everpost.states(id), ['delivered'])
    const after = (await readMessage(sql, id))!
    assert.ok(after.expiresAt.getTime() > Date.now() + 50 * 60_000, 'the time on hold does not count')
    assert.match((await everpost.command('release', id)).stderr, /release refused: it is finished/)
    assert.deepEqual((await readActions(sql, id)).map(({ action, why }) => [action, why]), [['hold', 'suspicious'], ['release', ''], ['hold', ''], ['release', '']])
  } finally {
    await everpost.end()
    await peer.close()
    await temporal.end()
  }
})

test('retry, reroute, set-lifetime, expire, bounce and drop: each is done, recorded, and refused where it makes no sense', async () => {
  const script = { rcpt: { '*': '451 4.7.1 not now' } as Record<string, string> }
  const peer = await startPeer(script)
  const other = await startPeer({})
  const everpost = await prepareEverpost({ retry: slowRetry, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  const deferred = async (...to: string[]) => {
    const id = await everpost.send(to, 'bob@example.test')
    await until('deferred', async () => (await readRecipients(everpost.sql, id, 9)).every((r) => r.outcome !== null && r.leasedUntil === null))
    return id
  }
  const done = async (...args: string[]) => {
    const { code, stdout, stderr } = await everpost.command(...args)
    assert.deepEqual([code, stdout], [0, `${args[0]}: 1 message done.\n`], stderr)
  }
  try {
    await everpost.start()
    const rerouted = await deferred('a@partner.test', 'b@partner.test')
    await done('reroute', rerouted, '--recipient', 'a@partner.test', '--to', `[127.0.0.1]:${other.port}`)
    assert.deepEqual(await everpost.states(rerouted, (states) => states[0] === 'delivered'), ['delivered', 'queued'])
    assert.equal(other.messages.length, 1)
    assert.match((await everpost.command('reroute', rerouted, '--to', '[x')).stderr, /"\[x" is not a next hop/)

    await done('set-lifetime', rerouted, '--lifetime', '10d')
    const { expiresAt, acceptedAt } = (await readMessage(everpost.sql, rerouted))!
    assert.equal(expiresAt.getTime() - acceptedAt.getTime(), 10 * 86_400_000)
    assert.match((await everpost.command('set-lifetime', rerouted, '--lifetime', '1s')).stderr, /from one minute to 366 days/)

    await done('expire', rerouted)
    assert.deepEqual(await everpost.states(rerouted), ['delivered', 'expired'])
    assert.match((await everpost.command('retry', rerouted)).stderr, /retry refused: it is finished/)
    const [first] = await until('the report', () => everpost.maildir('bob')[0] && everpost.maildir('bob'))
    assert.match(first!, /Final-Recipient: rfc822; b@partner\.test[\s\S]*Status: 4\.4\.7/)

    const bounced = await deferred('c@partner.test', 'd@partner.test')
    const { code, stdout, stderr } = await everpost.command('set-lifetime', bounced, rerouted, '--lifetime', '9d')
    assert.deepEqual([code, stdout], [1, 'set-lifetime: 1 message done, 1 refused.\n'])
    assert.match(stderr, new RegExp(`^${rerouted}: set-lifetime refused: it is finished`))
    await done('bounce', bounced, '--recipient', 'c@*', '--why', 'no longer a customer')
    assert.deepEqual(await everpost.states(bounced, (states) => states[0] === 'bounced'), ['bounced', 'queued'])
    await until('the second report', () => everpost.maildir('bob').some((mail) => /returned by the operator: no longer a customer/.test(mail)))
    await done('drop', bounced)
    assert.deepEqual(await everpost.states(bounced), ['bounced', 'bounced'])
    assert.equal((await readMessage(everpost.sql, bounced))!.state, 'finished')
    assert.equal((await everpost.sql`select from messages where parent = ${bounced}`).length, 1)

    const parted = await deferred('m@partner.test', 'n@partner.test')
    const preview = async (action: string) => (await everpost.command(action, '--recipient', 'n@*', '--dry-run')).stdout
    assert.match(await preview('hold'), / {2}m@partner\.test, n@partner\.test\nhold would reach 1 message;/)
    assert.match(await preview('expire'), / {2}n@partner\.test\nexpire would reach 1 message;/)
    await done('expire', '--recipient', 'n@*', '--yes')
    assert.deepEqual(await everpost.states(parted, (states) => states.includes('expired')), ['queued', 'expired'])
    await until('the third report', () => everpost.maildir('bob').some((mail) => /Final-Recipient: rfc822; n@partner\.test[\s\S]*Status: 4\.4\.7/.test(mail)))

    const retried = await deferred('e@partner.test')
    script.rcpt = {}
    await done('retry', retried, '--why', 'it is back')
    assert.deepEqual(await everpost.states(retried), ['delivered'])
    assert.match((await everpost.command('show', retried)).stdout, /retry by \S+ \(e@partner\.test\): it is back/)
    assert.match((await everpost.command('retry', 'nonsense')).stderr, /no queue id/)
    assert.match((await everpost.command('retry')).stderr, /name messages by their queue ids/)
  } finally {
    await everpost.end()
    await peer.close()
    await other.close()
  }
})
