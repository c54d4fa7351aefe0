import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { ensureCertificate } from '../dev/certificate.ts'
import { hashPassword } from '../ingress/password.ts'
import { createUsers } from '../ingress/users.ts'
import { settingsSchema } from '../settings/schema.ts'
import { prepareEverpost } from './support/everpost.ts'

const folder = mkdtempSync(join(tmpdir(), 'everpost-secrets-'))
const passwordHash = await hashPassword('wonderland-secret')
const users = [{ name: 'alice@example.test', passwordHash }]
const everpost = await prepareEverpost({
  listeners: [{ kind: 'submission', address: '127.0.0.1', port: 0 }], tls: await ensureCertificate(folder, 'mx.example.test'), users, log: { level: 'debug' },
  webhooks: [{ name: 'hook', url: 'http://127.0.0.1:9/', secret: 'hook-secret-of-32-octets-at-least' }],
})
after(async () => {
  await everpost.end()
  rmSync(folder, { recursive: true, force: true })
})

test('neither passwords, right or wrong, nor tokens nor bodies are in the log, at the most talkative level either', async () => {
  const child = await everpost.start()
  let log = ''
  child.stdout!.on('data', (text: string) => { log += text })
  const { stdout } = await everpost.command('token', 'create', 'all', '--scope', 'submit')
  const token = stdout.trim()
  const send = (password: string) => everpost.command(
    'send', '--to', 'carol@example.test', '--user', 'alice@example.test', '--password', password, '--server', `127.0.0.1:${everpost.ports['submission']}`,
    '--insecure', '--text', 'the body is private',
  )
  const sent = await send('wonderland-secret')
  assert.equal(sent.code, 0, sent.stderr)
  assert.equal((await send('queen-secret')).code, 77)
  const answer = await fetch(`http://127.0.0.1:${everpost.ports['http']}/v1/messages`, {
    method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ from: 'alice@example.test', to: ['carol@example.test'], text: 'the body is private' }),
  })
  assert.equal(answer.status, 201)
  await everpost.states((await answer.json() as { id: string }).id)
  assert.match(log, /authentication failed/)
  assert.match(log, /carol@example\.test/)
  const encoded = ['wonderland-secret', 'queen-secret'].map((password) => Buffer.from(`\0alice@example.test\0${password}`).toString('base64'))
  for (const secret of ['wonderland-secret', 'queen-secret', token, token.slice(4), 'body is private', passwordHash, ...encoded]) assert.ok(!log.includes(secret), secret)
})

test('everpost config shows no secret: password hashes, the database password, webhook keys', async () => {
  const { stdout } = await everpost.command('config', '--all')
  assert.match(stdout, /alice@example\.test/)
  const secrets = [passwordHash, passwordHash.split('$').at(-1)!, new URL(everpost.database).password, 'hook-secret-of-32-octets-at-least']
  for (const secret of secrets) assert.ok(secret.length > 3 && !stdout.includes(secret))
})

test('a wrong password takes as long for a user that does not exist as for one that does', async () => {
  const { authenticate: check } = createUsers(settingsSchema.parse({ users }), everpost.sql)
  const fastest = async (name: string) => {
    const times: number[] = []
    for (let i = 0; i < 7; i++) {
      const begun = performance.now()
      assert.equal(await check(name, 'guess'), null)
      times.push(performance.now() - begun)
    }
    return Math.min(...times)
  }
  const [known, unknown] = [await fastest('alice@example.test'), await fastest('nobody@example.test')]
  // Without the computation it would be a hundredth.
  assert.ok(unknown > known / 3 && unknown < known * 3, `${known} ms, ${unknown} ms`)
})
