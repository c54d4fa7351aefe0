import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { ensureCertificate } from '../dev/certificate.ts'
import { prepareEverpost } from './support/everpost.ts'

const folder = mkdtempSync(join(tmpdir(), 'everpost-users-'))
const everpost = await prepareEverpost({
  listeners: (['smtp', 'submission'] as const).map((kind) => ({ kind, address: '127.0.0.1', port: 0 })),
  tls: await ensureCertificate(folder, 'mx.example.test'),
  routes: [{ domain: 'away.test', nextHop: '[127.0.0.1]:1' }], retry: { minimalBackoffTime: '1h' },
})
after(async () => {
  await everpost.end()
  rmSync(folder, { recursive: true, force: true })
})

test('everpost user: added, listed, given a new password and removed while Everpost runs', async () => {
  await everpost.start()
  const withPassword = async (password: string, ...args: string[]) => {
    process.env['EVERPOST_PASSWORD'] = password
    try {
      return await everpost.command(...args)
    } finally {
      delete process.env['EVERPOST_PASSWORD']
    }
  }
  const send = (password: string, from: string) =>
    everpost.command('send', '--to', 'dave@example.test', '--user', 'carol@example.test', '--from', from, '--password', password, '--insecure', '--server', `127.0.0.1:${everpost.ports['submission']}`)
  assert.match((await everpost.command('user', 'list')).stdout, /There are no users/)
  assert.deepEqual(await withPassword('one', 'user', 'add', 'carol@example.test', '--address', '@carol.test'), { code: 0, stdout: 'added carol@example.test\n', stderr: '' })
  const again = await withPassword('one', 'user', 'add', 'Carol@example.test')
  assert.deepEqual([again.code, /there is a user .* already/.test(again.stderr)], [1, true])
  assert.equal((await withPassword('one', 'user', 'add', 'x@example.test', '--address', 'nonsense')).code, 64)
  assert.match((await everpost.command('user', 'list')).stdout, /carol@example\.test +database +\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ \([^)]+\) +@carol\.test/)
  const [{ createdAt, ...carol }] = JSON.parse((await everpost.command('user', 'list', '--json')).stdout)
  assert.deepEqual([carol, createdAt], [{ name: 'carol@example.test', addresses: ['@carol.test'], from: 'database' }, new Date(createdAt).toISOString()])

  const sent = await send('one', 'news@carol.test')
  assert.match(sent.stdout, /queued as/, sent.stderr)
  assert.match((await send('one', 'bob@example.test')).stderr, /553 5\.7\.1/)
  assert.equal((await withPassword('two', 'user', 'passwd', 'carol@example.test')).code, 0)
  assert.match((await send('one', 'carol@example.test')).stderr, /535 5\.7\.8/)
  assert.equal((await send('two', 'carol@example.test')).code, 0)
  assert.equal((await everpost.command('user', 'remove', 'carol@example.test')).code, 0)
  assert.match((await send('two', 'carol@example.test')).stderr, /535 5\.7\.8/)
  assert.equal((await everpost.command('user', 'remove', 'carol@example.test')).code, 1)
})

test('a spam run: what a user or a client sent is listed, held and dropped, by command and by HTTP', async () => {
  const lines = async (...args: string[]) => (await everpost.command(...args)).stdout.trimEnd().split('\n')
  const token = (await lines('token', 'create', 'me', '--scope', 'read', 'control', 'submit'))[0]
  const call = async (path: string, body?: object) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    // biome-ignore lint/suspicious/noExplicitAny: answers of every kind
    return (await (await fetch(`http://127.0.0.1:${everpost.ports['http']}${path}`, body ? { method: 'POST', headers, body: JSON.stringify(body) } : { headers })).json()) as any
  }
  const ids = (found: { id: string }[]) => found.map(({ id }) => id).sort()
  process.env['EVERPOST_PASSWORD'] = 'x'
  await everpost.command('user', 'add', 'Mallory', '--address', '@example.test')
  delete process.env['EVERPOST_PASSWORD']
  const spam = await Promise.all(['a', 'b'].map(async (to) => {
    const as = ['--user', 'mallory', '--password', 'x', '--insecure', '--server', `127.0.0.1:${everpost.ports['submission']}`]
    const { stdout } = await everpost.command('send', '--to', `${to}@away.test`, '--from', 'bob@example.test', ...as)
    return /queued as (\w+)/.exec(stdout)![1]!
  }))
  spam.sort()
  const other = await everpost.send('c@away.test', 'bob@example.test')
  const { id: posted } = await call('/v1/messages', { from: 'bob@example.test', to: ['d@away.test'] })

  const listed = JSON.parse((await everpost.command('queue', '--user', 'MALLORY', '--json')).stdout)
  assert.deepEqual([ids(listed), listed.map((row: { user: string; client: string }) => [row.user, row.client])], [spam, Array(2).fill(['Mallory', '127.0.0.1'])])
  assert.match((await lines('queue', '--user', 'mal*'))[1]!, / bob@example\.test \(Mallory\) +[ab]@away\.test /)
  assert.deepEqual(ids((await call('/v1/messages?user=token:me')).messages), [posted])
  assert.deepEqual(ids((await call('/v1/messages?client=127.0.*&sort=next')).messages), [...spam, other, posted].sort())
  assert.deepEqual((await call('/v1/messages?client=127.0.0.2')).messages, [])
  assert.match((await everpost.command('queue', '--dead', '--user', 'mallory')).stderr, /--dead goes with/)

  assert.deepEqual(await lines('hold', '--user', 'mallory', '--yes', '--why', 'a spam run'), ['hold: 2 messages done.'])
  assert.equal((await call('/v1/actions', { action: 'release', filter: { user: 'mallory', client: '127.0.0.1' } })).done, 2)
  assert.deepEqual(await lines('drop', '--client', '::ffff:127.0.0.1', '--user', 'mallory', '--yes'), ['drop: 2 messages done.'])
  assert.deepEqual(ids(JSON.parse((await everpost.command('queue', '--json')).stdout)), [other, posted].sort())
})

test('everpost alias: set, listed and removed, for local domains alone', async () => {
  const alias = (...args: string[]) => everpost.command('alias', ...args)
  assert.match((await alias('list')).stdout, /There are no aliases/)
  const { stdout } = await alias('set', 'Team@Example.test', 'dave@example.test', 'erin@partner.test')
  assert.equal(stdout, 'team@example.test stands for dave@example.test, erin@partner.test; processes that run follow within seconds\n')
  assert.match((await alias('list')).stdout, /team@example\.test +database +dave@example\.test erin@partner\.test/)
  assert.equal((await alias('set', 'x@example.test', '|/bin/sh')).code, 64)
  assert.match((await alias('set', 'x@elsewhere.test', 'dave@example.test')).stderr, /no local domain/)
  assert.equal((await alias('remove', 'team@example.test')).code, 0)
  assert.equal((await alias('remove', 'team@example.test')).code, 1)
})
