import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { freePort } from '../dev/ports.ts'
import { until } from './support/until.ts'

const program = fileURLToPath(new URL('../../cli/everpost.mjs', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'everpost-dev-'))
const { DATABASE_URL: _, TEMPORAL_ADDRESS: __, ...environment } = process.env
const ports = await Promise.all([freePort(), freePort(), freePort(), freePort()])
writeFileSync(join(folder, 'everpost.yaml'), `listeners:
  - { kind: smtp, address: 127.0.0.1, port: ${ports[0]} }
  - { kind: submission, address: 127.0.0.1, port: ${ports[1]} }
  - { kind: submissions, address: 127.0.0.1, port: ${ports[2]} }
http: { port: ${ports[3]} }
retry: { minimalBackoffTime: 1s }
`)
const started = new Set<ChildProcess>()
after(async () => {
  for (const child of started) await end(child, 'SIGINT')
  rmSync(folder, { recursive: true, force: true })
})

interface Dev {
  child: ChildProcess
  output: () => string
}

async function startDev(): Promise<Dev> {
  const child = spawn(process.execPath, [program, 'dev'], { cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
  started.add(child)
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding('utf8').on('data', (text: string) => { output += text })
  return { child, output: () => output }
}

const ready = (dev: Dev) => until('dev mode is ready', () => {
  if (dev.child.exitCode !== null) throw new Error(dev.output())
  return dev.output().includes('Everpost is ready.')
})

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  started.delete(child)
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.kill(signal)
  await exited
}

function everpost(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], { cwd: folder, env: environment }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
    })
  })
}

/** Processes that work in the folder of this test, by their command line. */
const left = () => readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).flatMap((pid) => {
  try {
    const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1')
    return line.includes(folder) ? [line.replaceAll('\0', ' ')] : []
  } catch {
    return []
  }
})

let queued = ''

test('an empty folder: ready, a message delivered, one deferred and one bounced by the sink; SIGINT leaves nothing running', async () => {
  const dev = await startDev()
  await ready(dev)
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
  const other = await everpost('dev')
  assert.deepEqual([other.code, /runs here already \(pid \d+\)/.test(other.stderr)], [1, true])
  await end(dev.child, 'SIGINT')
  assert.deepEqual(left(), [])
})

test('started again it goes on with its queue; killed outright, its servers are found and stopped by the next start', async () => {
  const first = await startDev()
  await ready(first)
  assert.match((await everpost('queue')).stdout, new RegExp(`${queued}.*450@any\\.sink\\.test`))
  await end(first.child, 'SIGKILL')
  assert.ok(left().length >= 2)
  const second = await startDev()
  await ready(second)
  assert.match((await everpost('queue')).stdout, new RegExp(`${queued}.*450@any\\.sink\\.test`))
  const attempts = async () => (JSON.parse((await everpost('show', queued, '--json')).stdout) as { attempts: unknown[] }).attempts.length
  const before = await attempts()
  await until('its schedule goes on', async () => (await attempts()) > before)
  await end(second.child, 'SIGTERM')
  assert.deepEqual(left(), [])
})

test('a port in use: one line that says which and what to do, and nothing is left running', async () => {
  const squatter = createServer()
  await new Promise<void>((resolve) => squatter.listen(ports[1], '127.0.0.1', resolve))
  const dev = await startDev()
  await until('dev mode gives up', () => dev.child.exitCode !== null).finally(() => squatter.close())
  assert.match(dev.output(), new RegExp(`everpost: Port 127\\.0\\.0\\.1:${ports[1]} \\(submission\\) is in use\\. Stop what listens there, or set another port in listeners\\.\n$`))
  assert.deepEqual(left(), [])
})
