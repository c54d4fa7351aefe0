import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { startPeer } from '../smtp/testing.ts'
import { readRecipients } from '../store/recipients.ts'
import { addUser } from '../store/users.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const commands = readFileSync(join(root, 'docs/operating.md'), 'utf8').split('\n').filter((line) => line.startsWith('    everpost ')).map((line) => line.trim().slice('everpost '.length))

/** Splits as a shell does, as far as the guide needs it. */
function words(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2]!)
}

/** What is there afterwards, for commands that change something. */
const effects: Record<string, string> = {
  hold: "select from messages where id = :id and held_at is not null",
  release: "select from messages where id = :id and held_at is null",
  bounce: "select from recipients where message_id = :id and state = 'bounced' and outcome ->> 'text' like 'returned by the operator%'",
  expire: "select from recipients where message_id = :id and state = 'expired'",
  drop: "select from recipients where message_id = :id and dropped",
  reroute: "select from recipients where message_id = :id and route is null",
  'set-lifetime': "select from messages where id = :id and expires_at = accepted_at + interval '10 days'",
  retry: "select from recipients where message_id = :id and attempts > 1",
  replay: "select from messages where id = :id and attempts > 1",
  'destination suspend': "select from destinations where suspended_until > now() + interval '1 hour'",
  'destination resume': "select where not exists (select from destinations where suspended_until > now())",
  'destination limit': "select from destinations where concurrency = 5 and round(rate * 60) = 100",
  'user remove': "select where not exists (select from users)",
  'token create': "select from tokens where name = :name",
  'token revoke': "select from tokens where name = :name and revoked_at is not null",
}
const untouched = `select from recipients r join messages m on id = message_id
  where id = :id and held_at is null and route is null and r.attempts = 1 and r.state in ('queued', 'bounced')`

test('every command of docs/operating.md does what it says on a queue that has something to do for it; tried dry, nothing', async () => {
  assert.ok(commands.length > 30)
  const peer = await startPeer({ rcpt: { 'gone@partner.test': '550 5.1.1 no such user', '*': '451 4.7.1 not now' } })
  const everpost = await prepareEverpost({
    retry: { minimalBackoffTime: '1h' }, http: { address: '127.0.0.1', port: 20_000 + (process.pid % 10_000) }, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
  })
  const deferred = async () => {
    const id = await everpost.send('x@partner.test', 'a@sender.test')
    await until('deferred', async () => (await readRecipients(everpost.sql, id, 1))[0]?.outcome)
    return id
  }
  const failed = async () => {
    const id = await everpost.send('gone@partner.test', 'a@sender.test')
    await everpost.states(id)
    return id
  }
  try {
    await everpost.start()
    await addUser(everpost.sql, 'mallory@example.test', 'x', [])
    for (const command of commands) {
      const [verb] = command.split(' ')
      const id = verb === 'replay' ? await failed() : await deferred()
      if (command.includes('--to none')) await everpost.sql`update recipients set route = '[127.0.0.1]:1' where message_id = ${id}`
      if (/--user|--client/.test(command)) await everpost.sql`update messages set origin = origin || '{"user": "mallory@example.test", "clientAddress": "192.0.2.7"}' where id = ${id}`
      if (verb === 'release' || command.includes('--status held')) await everpost.command('hold', id)
      const args = words(command).map((word) => word.replace('01KAV5X4T89H2M3N4P', id).replace(/^partner\.test$/, command.includes('--next-hop') ? `[127.0.0.1]:${peer.port}` : 'partner.test'))
      const { code, stderr } = verb === 'watch' ? await interrupted(args) : await everpost.command(...args)
      assert.equal(code, 0, `everpost ${command}: ${stderr}`)
      const effect = command.includes('--dry-run') ? untouched : effects[verb!] ?? effects[args.slice(0, 2).join(' ')]
      if (effect) await until(`everpost ${command} is done`, async () => (await everpost.sql.unsafe(effect.replace(':id', `'${id}'`).replace(':name', `'${args[2]}'`))).length > 0)
    }
    const text = readFileSync(join(root, 'docs/operating.md'), 'utf8')
    const [statement, sizes, forget] = [...text.matchAll(/psql "\$DATABASE_URL" -c "(.*)"/g)].map((match) => match[1]!)
    const restored = await deferred()
    await everpost.sql.unsafe(statement!)
    await everpost.sql`update recipients set next_attempt_at = now() where message_id = ${restored}`
    assert.match((await everpost.command('queue', '--status', 'held')).stdout, new RegExp(restored))
    assert.ok((await everpost.sql.unsafe(sizes!)).some((row) => row['relname'] === 'attempts'))

    const old = await everpost.send('bob@example.test', 'a@sender.test')
    await everpost.states(old)
    const kept = await failed()
    await until('its body is released', async () => (await everpost.sql`select from messages where id = ${old} and body_released_at is not null`).length === 1)
    await everpost.sql`update messages set finished_at = now() - interval '91 days' where id in (${old}, ${restored}, ${kept})`
    await everpost.sql.unsafe(forget!)
    assert.deepEqual((await everpost.sql`select id from messages where id in (${old}, ${restored}, ${kept})`).map(({ id }) => id).sort(), [restored, kept].sort())
    assert.equal((await everpost.sql`select from recipients where message_id = ${old}`).length, 0)
  } finally {
    await everpost.end()
    await peer.close()
  }

  function interrupted(args: string[]): Promise<{ code: number; stderr: string }> {
    return new Promise((resolve) => {
      const child = execFile(process.execPath, [join(root, 'cli/everpost.mjs'), '--config', join(everpost.folder, 'everpost.yaml'), ...args],
        { cwd: everpost.folder }, (error, _, stderr) => resolve({ code: typeof error?.code === 'number' ? error.code : 0, stderr }))
      void until('it watches', async () => (await everpost.sql`select from subscribers`).length === 1).then(() => child.kill('SIGINT'))
    })
  }
})
