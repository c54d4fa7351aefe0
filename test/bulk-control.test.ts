import assert from 'node:assert/strict'
import { test } from 'node:test'
import { prepareEverpost } from './support/everpost.ts'

/**
 * To hold one whose workflow has to be started costs some 45 ms of CPU, most of it Temporal's; to ask one that runs some 20 ms. So ten
 * thousand, which pass, are for `EVERPOST_BULK=10000`: beside other tests they take ten minutes.
 */
const count = Number(process.env['EVERPOST_BULK'] ?? (process.env['CI'] ? 2000 : 500))
const few = Math.floor(count / 10)

test('many at a time: hold all, change some, release in part, drop in part; progress is told, and each is recorded', async () => {
  const everpost = await prepareEverpost({ retry: { minimalBackoffTime: '1h' } })
  const { sql } = everpost
  const counted = async (what: string) => (await sql.unsafe(`select count(*) from messages where ${what}`))[0]!['count'] as number
  try {
    await everpost.start()
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
    told('hold, each starting its workflow,', count, begun)
    assert.match(hold.stderr, new RegExp(`^\\d+ of ${count}\n`))
    assert.equal(await counted('held_at is not null'), count)

    const changing = Date.now()
    const lifetime = await everpost.command('set-lifetime', '--domain', 'FEW.test', '--lifetime', '9d', '--yes')
    assert.equal(lifetime.stdout, `set-lifetime: ${few} messages done.\n`)
    told('set-lifetime by a running workflow', few, changing)
    assert.equal(await counted(`expires_at > now() + interval '8 days'`), few)

    const release = await everpost.command('release', '--next-hop', 'maildir:example.test', '--yes')
    assert.equal(release.stdout, `release: ${few} messages done.\n`)
    assert.equal(await counted('held_at is not null'), count - few)
    assert.match((await everpost.command('hold', '--domain', 'bulk.test', '--yes')).stderr, /nothing that is queued matches/)
    const dropping = Date.now()
    const drop = await everpost.command('drop', '--domain', 'few.test', '--status', 'held', '--yes')
    assert.equal(drop.stdout, `drop: ${few} messages done.\n`)
    told('drop, each ending its workflow,', few, dropping)
    assert.equal(await counted('held_at is not null'), count - 2 * few)
    assert.equal(await counted(`state = 'queued' and id::int % 10 = 1`), 0)
    const [recorded] = await sql<{ count: number }[]>`select count(*) from actions where why = 'a campaign'`
    assert.equal(recorded!.count, count)
  } finally {
    await everpost.end()
  }
})
