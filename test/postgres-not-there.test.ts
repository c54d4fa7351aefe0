import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { freePort } from '../dev/ports.ts'
import { testDatabase } from './support/database.ts'
import { program } from './support/everpost.ts'
import { until } from './support/until.ts'

const folder = mkdtempSync(join(tmpdir(), 'everpost-waiting-'))
const config = join(folder, 'everpost.yaml')
writeFileSync(config, 'listeners: []\nhttp: { port: 0 }\ntemporal: { address: "127.0.0.1:1" }\n')
const database = await testDatabase()
const servers: Server[] = []
const children = new Set<ChildProcess>()
after(async () => {
  for (const child of children) child.kill('SIGKILL')
  for (const server of servers) server.close()
  await database.drop()
  rmSync(folder, { recursive: true })
})

async function listens(meet: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => meet(socket.on('error', () => {}))).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** An ingress, or a command, whose Postgres is to be at these ports. */
function run(ports: number[], ...words: string[]) {
  const url = Object.assign(new URL(database.url), { host: '127.0.0.1' })
  const DATABASE_URL = url.href.replace(url.host, ports.map((port) => `127.0.0.1:${port}`).join(','))
  const child = spawn(process.execPath, [program, '--config', config, ...words], { env: { ...process.env, DATABASE_URL }, stdio: ['ignore', 'pipe', 'pipe'] })
  children.add(child)
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) child[name].setEncoding('utf8').on('data', (text: string) => { said[name] += text })
  const messages = () => said.stdout.split('\n').slice(0, -1).map((line) => (JSON.parse(line) as { msg: string }).msg)
  return { child, said, messages, ended: once(child, 'close').then(([code]) => code as number | null) }
}

const closes = await listens((socket) => socket.end())
const webServer = await listens((socket) => socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')))
const silent = await listens((socket) => socket.resume())

test('a role that finds no Postgres says soon and again where it looked and what it saw, and ends with what to do', async () => {
  const free = await freePort()
  const cases: [ports: number[], seen: string[], last: string][] = [
    [[closes], [`127.0.0.1:${closes} takes the connection and closes it`], `127.0.0.1:${closes} takes the connection and closes it`],
    [[silent], ['no answer yet', `127.0.0.1:${silent} says nothing for 10 s`], `127.0.0.1:${silent} says nothing for 10 s`],
    [[free], [`connect ECONNREFUSED 127.0.0.1:${free}`], `connect ECONNREFUSED 127.0.0.1:${free}`],
    [[free, free], [`connect ECONNREFUSED 127.0.0.1:${free}`], `connect ECONNREFUSED 127.0.0.1:${free}`],
  ]
  await Promise.all(cases.map(async ([ports, seen, last]) => {
    const role = run(ports, 'ingress')
    const code = await role.ended
    const where = ports.map((port) => `127.0.0.1:${port}`).join(', ')
    // On a machine that is busy, nobody may have answered by the first line.
    const said = new Set(role.messages().filter((message, i) => ports[0] === silent || i > 0 || !message.endsWith(': no answer yet')))
    assert.deepEqual([...said], seen.map((each) => `waiting up to 30 s for Postgres at ${where}: ${each}`))
    assert.ok(role.messages().length >= 4, role.said.stdout)
    assert.deepEqual([code, role.said.stderr], [69, `everpost: Postgres cannot be reached, or has gone away (${last}). Is it running, and is DATABASE_URL right?\n`])
  }))
})

test('a command does not wait for a Postgres that is not there', async () => {
  const closing = 'takes the connection and closes it'
  for (const [ports, seen] of [[[closes], closing], [[webServer], closing], [[silent], 'says nothing for 10 s'], [[closes, closes], closing]] as const) {
    const command = run([...ports], 'queue')
    assert.deepEqual([await command.ended, command.said.stdout], [69, ''])
    assert.ok(command.said.stderr.startsWith('everpost: Postgres cannot be reached, or has gone away (') && command.said.stderr.includes(seen), command.said.stderr)
  }
})

test('a role goes on when its Postgres comes, whoever reloads it meanwhile, and stops at once when it is told to while it waits', async () => {
  const real = new URL(database.url)
  let there = false
  const port = await listens((socket) => {
    if (!there) return socket.end()
    const postgres = connect(Number(real.port), real.hostname).on('error', () => {})
    socket.pipe(postgres).pipe(socket)
  })
  const [goesOn, stopped] = [run([port], 'ingress'), run([closes], 'ingress')]
  await until('both wait', () => [goesOn, stopped].every((role) => role.messages().length > 0))
  // As a hook does that has renewed the certificates.
  goesOn.child.kill('SIGHUP')
  stopped.child.kill('SIGTERM')
  assert.deepEqual([await stopped.ended, stopped.said.stderr], [0, ''])
  assert.equal(stopped.messages().at(-1), 'SIGTERM: stopping')
  there = true
  await until('it is ready', () => goesOn.messages().includes('ready'))
  goesOn.child.kill('SIGTERM')
  assert.deepEqual([await goesOn.ended, goesOn.said.stderr], [0, ''])
})
