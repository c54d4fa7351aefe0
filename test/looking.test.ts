import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startPeer } from '../smtp/testing.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

const program = fileURLToPath(new URL('../../cli/everpost.mjs', import.meta.url))

test('queue, qshape, trace and show tell what waits and why; watch tells what happens; each attempt is a line in the log', async () => {
  const peer = await startPeer({ rcpt: { '*': '451 4.7.1 greylisted, come back' } })
  const everpost = await prepareEverpost({ retry: { minimalBackoffTime: '1h' }, routes: [{ domain: '*', nextHop: `[127.0.0.1]:${peer.port}` }] })
  const lines = async (...args: string[]) => {
    const { code, stdout, stderr } = await everpost.command(...args)
    assert.equal(code, 0, stderr)
    return stdout.trimEnd().split('\n')
  }
  try {
    const child = await everpost.start()
    let log = ''
    child.stdout!.on('data', (text) => { log += text })
    const watching = spawn(process.execPath, [program, '--config', join(everpost.folder, 'everpost.yaml'), 'watch'], { cwd: everpost.folder, stdio: ['ignore', 'pipe', 'ignore'] })
    let watched = ''
    watching.stdout!.setEncoding('utf8').on('data', (text) => { watched += text })
    await until('it watches', async () => (await everpost.sql`select from subscribers`).length === 1)

    const ids: string[] = []
    for (const [from, to] of [['a@one.test', 'x@big.test'], ['b@two.test', 'y@big.test'], ['a@one.test', 'z@small.test']] as const) ids.push(await everpost.send(to, from))
    for (const id of ids) await until('deferred', async () => (await readRecipients(everpost.sql, id, 1))[0]?.outcome)
    await everpost.command('hold', ids[1]!)

    const queue = await lines('queue')
    assert.equal(queue.length, 5)
    assert.match(queue[1]!, new RegExp(`^${ids[0]!} .* a@one\\.test +x@big\\.test +in \\d+[hm].* 451 4\\.7\\.1 greylisted`))
    assert.match(queue[2]!, /on hold/)
    assert.equal(queue[4], '3 messages, 1 on hold.')
    assert.deepEqual((await lines('queue', '--sort', 'newest', '--limit', '2', '--page', '2')).slice(1).map((line) => line.slice(0, 18)), [ids[0]!, 'Page 2 of 2: 1 of '])
    assert.deepEqual((await lines('queue', '--domain', 'BIG.test', '--status', 'deferred')).slice(1).map((line) => line.split(' ')[0]), [ids[0], '1'])
    assert.deepEqual(await lines('queue', '--reply', 'no such reply'), ['Nothing that is queued matches.'])
    assert.match((await everpost.command('queue', '--sort', 'colour')).stderr, /Allowed choices are age, newest/)

    const shape = await lines('qshape')
    assert.match(shape[0]!, /^ +T +5 +10 +20 +40 +80 +160 +320 +640 +1280 +1280\+$/)
    assert.match(shape[1]!, /^ +TOTAL +3 +3 +0/)
    assert.match(shape[2]!, /^ +big\.test +2 +2 +0/)
    assert.match((await lines('qshape', '--by', 'sender'))[2]!, /^ *one\.test +2 +2/)
    const trace = await lines('trace', 'A@one.test')
    assert.deepEqual(trace.slice(1).map((line) => line.slice(0, 18)), [ids[2], ids[0]])
    assert.match((await lines('trace', 'y@big.test'))[1]!, /on hold/)
    assert.deepEqual(await lines('trace', 'nobody@x.test'), ['No message from or to nobody@x.test is known.'])

    await until('watch has told', () => watched.includes('held'))
    assert.match(watched, new RegExp(`${ids[0]!}  accepted   from <a@one\\.test>`))
    assert.match(watched, new RegExp(`${ids[0]!}  deferred   x@big\\.test  host .*greylisted`))
    const ended = new Promise((resolve) => watching.once('exit', resolve))
    watching.kill('SIGINT')
    await ended
    assert.equal((await everpost.sql`select from subscribers`).length, 0)

    const attempt = log.split('\n').filter((line) => line.includes('greylisted')).map((line) => JSON.parse(line)).find((line) => line.id === ids[0])
    const { from, to, relay, delay, delays, dsn, status } = attempt
    assert.deepEqual([from, to, relay, dsn, status], ['a@one.test', 'x@big.test', '127.0.0.1[127.0.0.1]', '4.7.1', 'deferred'])
    assert.match(delays, /^0\/[\d.]+\/0\/[\d.]+$/)
    for (const [i, action] of ['expire', 'bounce', 'drop'].entries()) assert.equal((await everpost.command(action, ids[i]!, '--why', 'asked for')).code, 0)
    const last = () => ids.map((id) => log.split('\n').filter((line) => line.includes(id) && line.includes('"status"')).map((line) => JSON.parse(line)).at(-1))
    await until('each has its last line', () => last().every(({ status }) => status !== 'deferred'))
    assert.deepEqual(last().map((line) => [line.from, line.to, line.relay, line.dsn, line.status]), [
      ['a@one.test', 'x@big.test', 'none', '4.4.7', 'expired'], ['b@two.test', 'y@big.test', 'none', '5.0.0', 'bounced'],
      ['a@one.test', 'z@small.test', 'none', '5.0.0', 'bounced']])
    assert.deepEqual(last().slice(1).map(({ text }) => text), ['returned by the operator: asked for', 'dropped by the operator: asked for'])
    assert.ok(delay >= Math.max(...delays.split('/').map(Number)) - 0.02, `${delay} ${delays}`)
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('trace: by an alias, within a time, in either spelling of a domain, by command and by HTTP; log and show name the address that the sender knows', async () => {
  const everpost = await prepareEverpost({
    aliases: { 'info@example.test': ['bob@example.test'] }, routes: [{ domain: 'xn--bcher-kva.test', nextHop: '[127.0.0.1]:1' }], retry: { minimalBackoffTime: '1h' },
  })
  const traced = async (...args: string[]) => JSON.parse((await everpost.command('trace', ...args, '--json')).stdout).map(({ id }: { id: string }) => id)
  try {
    const child = await everpost.start()
    let log = ''
    child.stdout!.on('data', (text) => { log += text })
    const first = await everpost.send('Info@example.test')
    await everpost.states(first)
    await sleep(20)
    const [{ at }] = await everpost.sql<[{ at: Date }]>`select now() as at`
    await sleep(20)
    const second = await everpost.send('info@example.test')
    await everpost.states(second)

    assert.deepEqual(await traced('INFO@example.test'), [second, first])
    assert.deepEqual(await traced('bob@example.test'), [second, first])
    assert.deepEqual(await traced('info@example.test', '--since', at.toISOString()), [second])
    assert.deepEqual(await traced('sender@example.test', '--until', at.toISOString()), [first])
    assert.deepEqual(await traced('info@example.test', '--since', '1h', '--until', at.toISOString()), [first])
    assert.match((await everpost.command('trace', 'info@example.test', '--until', '1d')).stdout, /^No message from or to info@example\.test of that time is known/)
    assert.match((await everpost.command('trace', 'info@example.test')).stdout, / bob@example\.test \(for info@example\.test\) +delivered /)
    assert.match((await everpost.command('show', second)).stdout, /\n {2}bob@example\.test \(for info@example\.test\) {2}delivered\n/)
    const line = log.split('\n').filter((each) => each.includes(second) && each.includes('"sent"')).map((each) => JSON.parse(each))[0]
    assert.deepEqual([line.to, line.orig_to], ['bob@example.test', 'info@example.test'])

    const token = (await everpost.command('token', 'create', 'me', '--scope', 'read', 'submit')).stdout.trim()
    const call = async (path: string, body?: object) => {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
      const answer = await fetch(`http://127.0.0.1:${everpost.ports['http']}${path}`, body ? { method: 'POST', headers, body: JSON.stringify(body) } : { headers })
      // biome-ignore lint/suspicious/noExplicitAny: answers of every kind
      return (await answer.json()) as any
    }
    const { messages } = await call(`/v1/trace?address=info@example.test&until=${at.toISOString()}`)
    assert.deepEqual(messages.map(({ id, forwardPath, original }: Record<string, string>) => [id, forwardPath, original]), [[first, 'bob@example.test', 'Info@example.test']])
    const ascii = await everpost.send('bob@xn--bcher-kva.test')
    const { id: unicode } = await call('/v1/messages', { from: 'a@a.test', to: ['bob@b\u00fccher.test'] })
    assert.equal((await readRecipients(everpost.sql, unicode, 1))[0]!.forwardPath, 'bob@b\u00fccher.test')
    for (const address of ['bob@b\u00fccher.test', 'BOB@B\u00dcCHER.test', 'bob@xn--bcher-kva.test']) {
      assert.deepEqual(await traced(address), [unicode, ascii], address)
      assert.equal(JSON.parse((await everpost.command('queue', '--recipient', address, '--json')).stdout).length, 2)
    }
    assert.deepEqual((await call(`/v1/trace?address=${encodeURIComponent('bob@b\u00fccher.test')}`)).messages.length, 2)
  } finally {
    await everpost.end()
  }
})
