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

test('everpost alias: set, listed and removed, for local domains alone', async () => {
  const alias = (...args: string[]) => everpost.command('alias', ...args)
  assert.match((await alias('list')).stdout, /There are no aliases/)
  assert.equal((await alias('set', 'Team@Example.test', 'dave@example.test', 'erin@partner.test')).stdout, 'team@example.test stands for dave@example.test, erin@partner.test\n')
  assert.match((await alias('list')).stdout, /team@example\.test +database +dave@example\.test erin@partner\.test/)
  assert.equal((await alias('set', 'x@example.test', '|/bin/sh')).code, 64)
  assert.match((await alias('set', 'x@elsewhere.test', 'dave@example.test')).stderr, /no local domain/)
  assert.equal((await alias('remove', 'team@example.test')).code, 0)
  assert.equal((await alias('remove', 'team@example.test')).code, 1)
})
