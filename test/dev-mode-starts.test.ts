import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { hashPassword } from '../ingress/password.ts'
import { type Dev, devFolder } from './support/dev-mode.ts'
import { until } from './support/until.ts'

const settings = `listeners:
  - { kind: smtp, port: 0 }
  - { kind: submission, port: 0 }
http: { port: 0 }
users: [{ name: carol@example.test, passwordHash: ${await hashPassword('secret')} }]
`
const stopped = devFolder(settings)
const twice = devFolder(settings)
after(async () => {
  await stopped.remove()
  await twice.remove()
})
const inState = (name: string) => join(stopped.folder, 'var', name)

test('killed while it creates the cluster, and with notes of processes that are gone, it starts again', async () => {
  const halfMade = () => until('a half of a cluster is there', () => existsSync(inState('postgres.pid')) && existsSync(inState('postgres.new/PG_VERSION')))
  const first = stopped.start()
  await halfMade()
  await first.end('SIGKILL')
  // The first one's initdb is at work still; the second one's is killed with it.
  const second = stopped.start()
  await second.says('Postgres: creating')
  await halfMade()
  await second.end('SIGKILL')
  process.kill((JSON.parse(readFileSync(inState('postgres.pid'), 'utf8')) as { pid: number }).pid, 'SIGKILL')
  // The pid has gone to another process since.
  writeFileSync(inState('dev.pid'), JSON.stringify({ pid: 1, started: '0' }))
  writeFileSync(inState('dev.json'), JSON.stringify({ base: { database: { url: 'postgres://127.0.0.1:1/gone' } } }))
  assert.match((await stopped.everpost('queue')).stderr, /no database is set/)
  const dev = stopped.start()
  await dev.says('Postgres: 127.0.0.1:')
  assert.equal(await dev.end('SIGINT'), 0)
  assert.deepEqual(stopped.left(), [])
})

test('a signal at any step of the start stops what has been started', async () => {
  const comes = (name: string) => () => until(name, () => existsSync(inState(name)))
  const steps: [string, (dev: Dev) => Promise<unknown>][] = [
    ['initdb runs', comes('postgres.new/PG_VERSION')],
    ['Postgres has just been started', comes('postgres/postmaster.pid')],
    ['Temporal has just been started', (dev) => dev.says('Temporal: starting')],
    ['it polls for the first time', (dev) => dev.says('Worker: polling')],
  ]
  rmSync(inState('postgres'), { recursive: true })
  for (const [step, reached] of steps) {
    const dev = stopped.start()
    await reached(dev)
    const code = await dev.end('SIGINT')
    assert.deepEqual([step, code, /^Stopping\.$/m.test(dev.output()), stopped.left()], [step, 0, true, []])
  }
})

test('the folder that it needs is a file: that is what it says', async () => {
  rmSync(inState('.'), { recursive: true })
  writeFileSync(join(stopped.folder, 'var'), '')
  assert.match((await stopped.everpost('dev')).stderr, /^everpost: \S+\/var cannot be used \(EEXIST\)\. Set state to a folder of your own\.\n$/)
})

test('two started at once in an empty folder: one runs, with users and free ports of the settings; a second signal stops it at once', async () => {
  mkdirSync(join(twice.folder, 'var'))
  const both = [twice.start(), twice.start()]
  const refused = await until('one gives up', () => both.find(({ child }) => child.exitCode !== null))
  assert.match(refused.output(), /^everpost: dev mode runs here already \(pid (\d+)\)\. .*: kill \1\n$/)
  const dev = both.find((each) => each !== refused)!
  await dev.ready()
  assert.match(dev.output(), /users +those of the settings/)
  assert.doesNotMatch(dev.output(), /alice|:0\b/)
  assert.match((await twice.everpost('send', '--user', 'carol@example.test', '--password', 'secret', '--to', 'bob@example.test')).stdout, /queued as/)
  assert.match((await twice.everpost('send', '--to', 'bob@example.test')).stderr, /submission needs a user/)
  assert.equal((await twice.everpost('sendmail', 'bob@example.test')).code, 0)
  assert.equal((await twice.everpost('health')).code, 0)

  dev.child.kill('SIGINT')
  await dev.says('Stopping.')
  assert.equal(await dev.end('SIGINT'), 130)
  await until('nothing is left running', () => twice.left().length === 0)
})
