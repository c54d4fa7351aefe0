import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Dev, devFolder, lastingPort } from './support/dev-mode.ts'
import { until } from './support/until.ts'

const ports = await Promise.all([lastingPort(), lastingPort(), lastingPort(), lastingPort()])
const { folder, start, everpost, left, remove } = devFolder(`listeners:
  - { kind: smtp, address: 127.0.0.1, port: ${ports[0]} }
  - { kind: submission, address: 127.0.0.1, port: ${ports[1]} }
  - { kind: submissions, address: 127.0.0.1, port: ${ports[2]} }
http: { port: ${ports[3]} }
retry: { minimalBackoffTime: 1s }
`)
after(remove)

let dev: Dev
let queued = ''

test('an empty folder: ready, a message delivered, one deferred and one bounced by the sink', async () => {
  dev = start()
  await dev.ready()
  for (const what of ['Postgres: creating the cluster', 'Temporal: starting', 'Temporal UI', 'npx everpost token create', `127.0.0.1:${ports[1]}`, 'var/mail', 'npx everpost send']) {
    assert.ok(dev.output().includes(what), `${what} is not in\n${dev.output()}`)
  }
  for (const secret of ['dev.json', 'postgres-password']) assert.equal(statSync(join(folder, 'var', secret)).mode & 0o777, 0o600)
  const sent = await everpost('send', '--to', 'bob@example.test', '--to', 'greylist@any.sink.test', '--to', '550@any.sink.test')
  const id = /queued as (\w+)/.exec(sent.stdout)![1]!
  await until('all of it is settled', async () => {
    const { stdout } = await everpost('show', id)
    return /550@any\.sink\.test\s+bounced/.test(stdout) && /greylist@any\.sink\.test\s+delivered/.test(stdout)
  })
  assert.equal(readdirSync(join(folder, 'var/mail/bob/new')).length, 1)
  const inbox = (name: string) => (readdirSync(join(folder, 'var/mail')).includes(name) ? readdirSync(join(folder, 'var/mail', name, 'new')) : [])
  await until("the report is in the sender's Maildir", () => inbox('alice').length === 1)
  assert.equal(readdirSync(join(folder, 'var/sink')).length, 1)

  queued = /queued as (\w+)/.exec((await everpost('send', '--to', '450@any.sink.test')).stdout)![1]!
  await until('it is deferred', async () => /450 4\.0\.0/.test((await everpost('show', queued)).stdout))
})

test('commands typed beside it work with the settings that it runs with, not with those of the file alone', async () => {
  const hop = /^\[127\.0\.0\.1\]:\d+/m.exec((await everpost('destination', 'list')).stdout)![0]
  assert.match((await everpost('queue', '--next-hop', hop)).stdout, new RegExp(queued))
  assert.match((await everpost('alias', 'set', 'info@example.test', 'alice@example.test')).stdout, /stands for/)
  assert.match((await everpost('user', 'add', 'alice@example.test')).stderr, /alice@example\.test is a user of the settings/)
  assert.match((await everpost('user', 'list')).stdout, /alice@example\.test +settings/)
  assert.match((await everpost('config')).stdout, /example\.test:\n.*nextHop: "?\[127\.0\.0\.1\]/s)
  assert.equal((await everpost('sendmail', 'bob@example.test')).code, 0)
  const inbox = join(folder, 'var/mail/bob/new')
  await until('a program of this machine sends from the domain that is here', () =>
    readdirSync(inbox).some((name) => /^Return-Path: <(?!alice)[^@>]+@example\.test>/.test(readFileSync(join(inbox, name), 'utf8'))))
})

test('another one is refused where it runs; SIGINT leaves nothing running', async () => {
  const other = await everpost('dev')
  assert.deepEqual([other.code, /runs here already \(pid \d+\)/.test(other.stderr)], [1, true])
  await dev.end('SIGINT')
  assert.deepEqual(left(), [])
  assert.deepEqual(readdirSync(join(folder, 'var')).filter((name) => /^dev\.|\.pid/.test(name)), [])
})

test('started again it goes on with its queue; killed outright, its servers are found and stopped by the next start', async () => {
  const first = start()
  await first.ready()
  assert.match((await everpost('queue')).stdout, new RegExp(`${queued}.*450@any\\.sink\\.test`))
  await first.end('SIGKILL')
  assert.ok(left().length >= 2)
  const second = start()
  await second.ready()
  assert.match((await everpost('queue')).stdout, new RegExp(`${queued}.*450@any\\.sink\\.test`))
  const attempts = async () => (JSON.parse((await everpost('show', queued, '--json')).stdout) as { attempts: unknown[] }).attempts.length
  const before = await attempts()
  await until('its schedule goes on', async () => (await attempts()) > before)
  await second.end('SIGTERM')
  assert.deepEqual(left(), [])
})

test('SIGQUIT, SIGHUP and a terminal that is closed stop it in order as well', async () => {
  for (const signal of ['SIGQUIT', 'SIGHUP'] as const) {
    const dev = start()
    await dev.ready()
    assert.deepEqual([signal, await dev.end(signal), left()], [signal, 0, []])
  }
  const dev = start('terminal')
  await dev.ready()
  await dev.end('SIGKILL')
  await until('nothing is left running', () => left().length === 0)
  assert.deepEqual(readdirSync(join(folder, 'var')).filter((name) => /^dev\.|\.pid/.test(name)), [])
  assert.match(readFileSync(join(folder, 'var/postgres.log'), 'utf8'), /database system is shut down\n$/)
})

test('a port in use: one line that says which and what to do, before anything is started', async () => {
  const squatter = createServer()
  await new Promise<void>((resolve) => squatter.listen(ports[1], '127.0.0.1', resolve))
  const { code, stdout, stderr } = await everpost('dev').finally(() => squatter.close())
  const line = `everpost: Port 127.0.0.1:${ports[1]} (submission) is in use. Stop what listens there, or set another port in listeners.\n`
  assert.deepEqual([code, stdout, stderr], [1, '', line])
  assert.deepEqual(left(), [])
})
