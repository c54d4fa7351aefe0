import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { acceptMessage } from '../store/accept.ts'
import { testDatabase } from './support/database.ts'
import { prepareEverpost, program } from './support/everpost.ts'
import { newMessage } from './support/messages.ts'
import { until } from './support/until.ts'

const everpost = await prepareEverpost()
const { sql, command } = everpost
after(everpost.end)

async function failed(...recipients: string[]): Promise<string> {
  const message = newMessage(recipients)
  await acceptMessage(sql, message)
  await sql`update recipients set state = 'bounced', settled_at = now() where message_id = ${message.id}`
  await sql`update messages set state = 'finished', drive_at = null, finished_at = now() where id = ${message.id}`
  return message.id
}

test('a command that is called wrongly ends with 64, in one look, and points to its own help', async () => {
  for (const [words, told, help] of [
    [['queue', '--limit', '0'], /^everpost: option '--limit <count>' argument '0' is invalid\. a whole number from 1 to 9999999\n/, 'everpost queue'],
    [['queue', '--colour'], /^everpost: unknown option '--colour'\n/, 'everpost queue'],
    [['replay', '--all-failed', '--since', '60', '--dry-run'], /^everpost: option '--since <time>' argument '60' is invalid\./, 'everpost replay'],
    [['destination', 'limit'], /^everpost: missing required argument 'name'\n/, 'everpost destination limit'],
    [['nonsense'], /^everpost: unknown command 'nonsense'\n/, 'everpost'],
  ] as const) {
    const { code, stderr } = await command(...words)
    assert.match(stderr, told)
    assert.deepEqual([code, stderr.includes(`(see: ${help} --help)`)], [64, true], stderr)
  }
  assert.match((await command('--help')).stdout, /\nRunning it:\n {2}dev .*\nLooking at it:\n {2}queue /s)
  const { code, stdout } = await command('queue', '--help')
  assert.deepEqual([code, stdout.startsWith('Usage: everpost queue')], [0, true])
})

test('of several ids that are named, those that an action cannot reach are told, each with its reason', async () => {
  const [waiting, finished] = [newMessage(['a@x.test']), await failed('b@x.test')]
  await acceptMessage(sql, waiting)
  const unknown = '01KAV5X4T89H2M3N4P'
  const { code, stdout, stderr } = await command('hold', waiting.id, finished, unknown, '--dry-run')
  assert.deepEqual([code, stderr.split('\n').sort()], [1, [
    '', `${unknown}: hold refused: there is no message with this id`,
    `${finished}: hold refused: it is finished: every recipient is settled. Failed ones can be replayed`,
  ].sort()])
  assert.match(stdout, /hold would reach 1 message; nothing was changed/)
  const other = await command('retry', waiting.id, '--sender', 'other@x.test', '--json')
  assert.deepEqual([other.code, JSON.parse(other.stdout)], [1, { action: 'retry', done: [], busy: [], refused: [{ id: waiting.id, why: 'it is queued, but the options do not match it' }] }])
})

test('a replay that comes second does not claim what the first has done', async () => {
  const id = await failed('c@x.test')
  const second = await sql.begin(async (tx) => {
    await tx`select from messages where id = ${id} for update`
    const second = command('replay', id)
    await until('it waits for the first', async () => (await sql`
      select from pg_stat_activity where application_name = 'everpost cli' and wait_event_type = 'Lock' and datname = current_database()`).length > 0)
    await tx`update recipients set state = 'queued' where message_id = ${id}`
    // In an object, since a promise returned would be waited for before the commit.
    return { second }
  })
  const { code, stdout, stderr } = await second.second
  assert.deepEqual([code, stdout, /1 message left alone.*somebody else was faster/.test(stderr)], [1, '0 of 1 replayed.\n', true], stderr)
})

test('a database that is not ours, or not there, says what to do and ends with 78', async () => {
  const empty = await testDatabase({ empty: true })
  const ours = await prepareEverpost({ database: { url: empty.url } }, everpost.temporal)
  const missing = await prepareEverpost({ database: { url: Object.assign(new URL(empty.url), { pathname: '/nowhere' }).href } }, everpost.temporal)
  try {
    const unmigrated = await ours.command('queue')
    assert.deepEqual([unmigrated.code, /\(42P01\)\. .*everpost migrate/.test(unmigrated.stderr)], [78, true], unmigrated.stderr)
    const unknown = await missing.command('queue')
    assert.deepEqual([unknown.code, /\(3D000\)\. Is DATABASE_URL right\?/.test(unknown.stderr)], [78, true], unknown.stderr)
  } finally {
    await ours.end()
    await missing.end()
    await empty.drop()
  }
})

test('a port in use ends a role with one line that names it, and 69, before a worker has begun', async () => {
  const squatter = createServer()
  await new Promise<void>((resolve) => squatter.listen(0, '127.0.0.1', resolve))
  const { port } = squatter.address() as { port: number }
  const smtp = await prepareEverpost({ listeners: [{ kind: 'smtp', address: '127.0.0.1', port }] }, everpost.temporal)
  const http = await prepareEverpost({ listeners: [], http: { address: '127.0.0.1', port } }, everpost.temporal)
  try {
    for (const [{ command }, role, line] of [
      [smtp, 'ingress', `Port 127.0.0.1:${port} (smtp) is in use. Stop what listens there, or set another port in listeners.`],
      [smtp, 'serve', `Port 127.0.0.1:${port} (smtp) is in use. Stop what listens there, or set another port in listeners.`],
      [http, 'worker', `The HTTP port 127.0.0.1:${port} is in use. Set http.port to another.`],
    ] as const) {
      const { code, stdout, stderr } = await command(role)
      assert.deepEqual([code, stderr, /Temporal/.test(stdout)], [69, `everpost: ${line}\n`, false])
    }
  } finally {
    squatter.close()
    await smtp.end()
    await http.end()
  }
})

test('everpost config says what no process could use, and what makes no sense together', async () => {
  const other = await prepareEverpost({ tls: { cert: './missing.pem', key: './missing.key' }, retry: { minimalBackoffTime: '5h' } }, everpost.temporal)
  try {
    const { code, stderr } = await other.command('config')
    assert.match(stderr, /^everpost: retry\.minimalBackoffTime is longer than retry\.maximalBackoffTime, .*\neverpost: no listener will start here: .*missing\.pem cannot be read \(ENOENT\)\..*\n$/)
    assert.equal(code, 0)
  } finally {
    await other.end()
  }
})

test('listings say what they found nothing for, and take an address as replies write it', async () => {
  const message = newMessage(['dora@x.test'])
  await acceptMessage(sql, message)
  const told = async (...words: string[]) => (await command(...words)).stdout
  assert.match(await told('trace', '<dora@x.test>'), new RegExp(`^ID .*\n${message.id} `))
  assert.match(await told('trace', '*@x.test'), /^No message from or to \*@x\.test is known\. Here \* stands for itself; /)
  assert.equal(await told('queue', '--page', '99'), 'There is nothing on page 99.\n')
  assert.deepEqual(JSON.parse(await told('webhooks', '--retry-dead', '--json')), { revived: 0 })
  for (const words of [['watch', '--message', 'abc'], ['replay', 'abc'], ['show', 'abc'], ['cat', 'abc']]) {
    const { code, stderr } = await command(...words)
    assert.deepEqual([code, stderr], [1, 'everpost: there is no message abc. everpost queue lists what is queued.\n'])
  }
  assert.match(await told('sendmail', '--help'), /^Usage: everpost sendmail /)
  assert.match(await told('destination', 'suspend', '--help'), /--for <time> +how long \(default: 1h\)/)
})

test('a command whose reader goes first ends without a word, and one that watches stops in order; what JSON leaves out is counted beside it', async () => {
  for (const recipient of ['e@json.test', 'f@json.test', 'g@json.test']) await acceptMessage(sql, newMessage([recipient]))
  const unread = async (...words: string[]) => {
    const child = spawn(process.execPath, [program, '--config', join(everpost.folder, 'everpost.yaml'), ...words], { stdio: ['ignore', 'pipe', 'pipe'] })
    child.stdout.destroy()
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text })
    const ended = once(child, 'close')
    if (words[0] === 'watch') {
      await until('it watches', () => stderr !== '')
      await acceptMessage(sql, newMessage(['h@json.test']))
    }
    const [code] = await ended
    return [code, stderr]
  }
  for (const words of [['queue'], ['queue', '--json'], ['qshape'], ['config', '--all']]) assert.deepEqual(await unread(...words), [0, ''], words.join(' '))
  assert.deepEqual(await unread('watch'), [0, 'Watching; Ctrl-C ends it.\n'])
  assert.equal((await sql`select from subscribers`).length, 0)
  const { stdout, stderr } = await command('queue', '--domain', 'json.test', '--limit', '2', '--json')
  assert.deepEqual([JSON.parse(stdout).length, stderr], [2, 'Page 1 of 2: 2 of 4 messages.\n'])
  assert.equal((await command('queue', '--domain', 'json.test', '--json')).stderr, '')
})

test('health tells a process that does not answer from one that is not there', async () => {
  const silent = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1')
  await until('it listens', () => silent.listening)
  const { port } = silent.address() as AddressInfo
  const other = await prepareEverpost({ http: { address: '127.0.0.1', port } })
  try {
    const hangs = await other.command('health')
    assert.deepEqual([hangs.code, hangs.stderr], [69, `everpost: http://127.0.0.1:${port}/readyz did not answer within 4 s: the process hangs, or is too busy.\n`])
    await new Promise((resolve) => silent.close(resolve))
    const gone = await other.command('health')
    assert.equal(gone.code, 69)
    assert.match(gone.stderr, /^everpost: nothing answers at .*ECONNREFUSED.* Does Everpost run/)
  } finally {
    await other.end()
    silent.close()
  }
})
