import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startPeer } from '../smtp/testing.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

/** Postgres alone decides how long these take; the workflows that follow are a tenth. */
const count = Number(process.env['EVERPOST_BULK'] ?? 3000)
const few = Math.floor(count / 10)

test('thousands at a time, with no worker there to hear of it: hold all, change some, drop in part; each is recorded, and what is released goes out when there is one', async () => {
  const everpost = await prepareEverpost({ retry: { minimalBackoffTime: '1h' } })
  const { sql } = everpost
  const counted = async (what: string) => (await sql.unsafe(`select count(*) from messages where ${what}`))[0]!['count'] as number
  try {
    await everpost.stop(await everpost.start()) // the schema is there
    // As if deferred until tomorrow, with no workflow: as after Temporal was wiped.
    await sql`
      insert into messages (id, kind, reverse_path, body_type, smtp_utf8, require_tls, size, origin, expires_at, started_at)
      select lpad(i::text, 18, '0'), 'mail', 'news@sender.test', '7BIT', false, false, 0, '{"protocol":"ESMTP","helo":"x","clientAddress":"127.0.0.1","clientName":null,"tls":null,"user":null}',
             now() + interval '5 days', now() from generate_series(1, ${count}) i`
    await sql`
      insert into recipients (message_id, n, forward_path, domain, notify, next_attempt_at, outcome)
      select id, 0, 'u' || id || '@' || d, d, '{}', now() + interval '1 day', ${sql.json({ text: 'host x said: 451 4.7.1 greylisted' })}
      from messages, lateral (select case id::int % 10 when 0 then 'example.test' when 1 then 'few.test' else 'bulk.test' end as d) d`
    assert.match((await everpost.command('hold', '--sender', 'news@*')).stderr, new RegExp(`would reach ${count} messages; add --yes`))
    const dry = await everpost.command('hold', '--sender', 'news@*', '--reply', '451', '--dry-run')
    assert.match(dry.stdout, new RegExp(`hold would reach ${count} messages; nothing was changed`))
    assert.equal(await counted('held_at is not null'), 0)

    const told = (what: string, number: number, begun: number) => {
      console.log(`# ${number} times ${what} in ${Date.now() - begun} ms: ${Math.round((number * 60_000) / (Date.now() - begun))} a minute`)
    }
    const begun = Date.now()
    const hold = await everpost.command('hold', '--sender', 'news@*', '--yes', '--why', 'a campaign', '--json')
    const { done, refused } = JSON.parse(hold.stdout)
    assert.deepEqual([done.length, refused], [count, []])
    told('hold', count, begun)
    assert.ok(Date.now() - begun < 30_000, 'nobody is waited for')
    assert.equal(await counted('held_at is not null'), count)

    const changing = Date.now()
    const lifetime = await everpost.command('set-lifetime', '--domain', 'FEW.test', '--lifetime', '9d', '--yes')
    assert.equal(lifetime.stdout, `set-lifetime: ${few} messages done.\n`)
    told('set-lifetime', few, changing)
    assert.equal(await counted(`expires_at > now() + interval '8 days'`), few)

    const release = await everpost.command('release', '--next-hop', 'maildir:example.test', '--yes')
    assert.equal(release.stdout, `release: ${few} messages done.\n`)
    assert.equal(await counted('held_at is not null'), count - few)
    assert.match((await everpost.command('hold', '--domain', 'bulk.test', '--yes')).stderr, /nothing that is queued matches/)
    const dropping = Date.now()
    const drop = await everpost.command('drop', '--domain', 'few.test', '--status', 'held', '--yes')
    assert.equal(drop.stdout, `drop: ${few} messages done.\n`)
    told('drop', few, dropping)
    // No worker has settled it yet: typed again, it is no error.
    const again = await everpost.command('drop', '--domain', 'few.test', '--status', 'held', '--yes')
    assert.deepEqual([again.code, again.stdout, again.stderr], [0, `drop: nothing to do; ${few} messages on the way out already.\n`, ''])
    const [recorded] = await sql<{ count: number }[]>`select count(*) from actions where why = 'a campaign'`
    assert.equal(recorded!.count, count)
    await everpost.start()
    await until('what was dropped is settled, and what was released is delivered or returned', async () => (await counted(`state = 'queued'`)) === count - 2 * few, 120_000)
    assert.equal(await counted('held_at is not null'), count - 2 * few)
    assert.equal(await counted(`kind = 'dsn' and reverse_path = ''`), 0, 'nobody is told of what was dropped')
  } finally {
    await everpost.end()
  }
})

test('a crisis: what a destination that was resumed lets go is stopped by one hold, amid the deliveries', async () => {
  const peer = await startPeer()
  const everpost = await prepareEverpost({ routes: [{ domain: 'spam.test', nextHop: `[127.0.0.1]:${peer.port}` }], destinations: { resumeOver: '1s' } })
  const { sql } = everpost
  const numbers = async () => (await sql<{ delivered: number; held: number; leased: number }[]>`
    select count(*) filter (where r.state = 'delivered')::int as delivered, count(*) filter (where m.held_at is not null)::int as held,
      count(*) filter (where r.leased_until > now() and r.state = 'queued')::int as leased
    from recipients r join messages m on m.id = r.message_id`)[0]!
  try {
    await everpost.start()
    await everpost.command('destination', 'suspend', `[127.0.0.1]:${peer.port}`)
    for (let i = 0; i < 40; i++) await Promise.all(Array.from({ length: 10 }, (_, n) => everpost.send(`u${i}-${n}@spam.test`, 'spammer@x.test')))
    await until('all wait', async () => (await sql<{ count: number }[]>`select count(*) from recipients where waits is not null`)[0]!.count === 400)
    await everpost.command('destination', 'resume', `[127.0.0.1]:${peer.port}`)
    const hold = await everpost.command('hold', '--sender', 'spam*', '--yes')
    // Those that were delivered between being chosen and being reached are named, and nothing else is.
    const unreached = hold.stderr.split('\n').filter((line) => line.includes('refused'))
    assert.ok(unreached.every((line) => line.includes('hold refused: it is finished')), hold.stderr)
    assert.equal(hold.code, unreached.length > 0 ? 1 : 0)
    await until('what was past its dot is done', async () => (await numbers()).leased === 0)
    const { delivered, held } = await numbers()
    console.log(`# ${held} held, ${delivered} delivered before`)
    assert.deepEqual([held + delivered, held > 0], [400, true])
    await sleep(3000)
    assert.deepEqual(await numbers(), { delivered, held, leased: 0 })
    assert.equal(peer.messages.length, delivered)
    assert.equal((await everpost.command('release', '--status', 'held', '--yes')).code, 0)
    await until('released, all are delivered', async () => (await numbers()).delivered === 400, 180_000)
    assert.equal(peer.messages.length, 400)
  } finally {
    await everpost.end()
    await peer.close()
  }
})
