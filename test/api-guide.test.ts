import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { startPeer } from '../smtp/testing.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const missing = spawnSync('curl', ['--version']).error !== undefined
if (missing && process.env['CI']) throw new Error('CI may not skip this test: install curl')

/** Commands of the guide, each with its continuation lines. */
const commands = readFileSync(join(root, 'docs/api.md'), 'utf8').replaceAll('\\\n', ' ').split('\n').filter((line) => /^ {4}\S/.test(line)).map((line) => line.trim())

test('every command of docs/api.md does what it says', { skip: missing && 'curl is not installed' }, async () => {
  const [makeToken, ...calls] = commands
  assert.ok(calls.length >= 12 && calls.every((line) => line.startsWith('curl ')), 'each line is one of ours')
  const peer = await startPeer({ rcpt: { 'gone@partner.test': '550 5.1.1 no such user', '*': '451 4.7.1 not now' } })
  const everpost = await prepareEverpost({ retry: { minimalBackoffTime: '1h' }, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  try {
    await everpost.start()
    const deferred = await everpost.send('x@partner.test', 'a@example.test')
    await until('deferred', async () => (await readRecipients(everpost.sql, deferred, 1))[0]?.outcome)
    const failed = await everpost.send('gone@partner.test', 'a@example.test')
    await everpost.states(failed)
    writeFileSync(join(everpost.folder, 'message.eml'), 'Subject: Hello\n\nHello.\n')
    writeFileSync(join(everpost.folder, 'shell'), [
      'set -e', `npx() { shift; "${process.execPath}" "${root}cli/everpost.mjs" --config everpost.yaml "$@"; }`,
      'curl() { command curl --silent --show-error --fail-with-body "$@"; }', '',
    ].join('\n'))
    const run = (command: string, token = '') => new Promise<string>((resolve, reject) => {
      const script = `. ./shell\n${command.replaceAll('127.0.0.1:8025', `127.0.0.1:${everpost.ports['http']}`).replaceAll('01KAV5X4T89H2M3N4P', deferred)}`
      execFile('bash', ['-c', script], { cwd: everpost.folder, env: { ...process.env, TOKEN: token } }, (error, stdout, stderr) => {
        if (error) reject(new Error(`${command}\n${stdout}${stderr}`))
        else resolve(stdout)
      })
    })
    const token = (await run(`${makeToken}\necho "$TOKEN"`)).trim()
    const answers = []
    for (const call of calls) answers.push(await run(call, token))
    const json = answers.filter((answer) => answer.startsWith('{')).map((answer) => JSON.parse(answer))
    assert.equal(json.length, calls.length - 3, 'all but the message, the stream and the metrics are JSON')
    const [submitted, raw, shown, listed, , traced, held, released, replays, , suspended] = json
    for (const { id } of [submitted, raw]) assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.deepEqual([shown.message.id, listed.messages.map(({ id }: { id: string }) => id)], [deferred, [deferred]])
    assert.deepEqual(traced.messages.map(({ id }: { id: string }) => id), [raw.id, submitted.id])
    assert.deepEqual([held.count, released.done, replays.messages.map(({ id }: { id: string }) => id), suspended.woken], [1, 1, [failed], 0])
    assert.ok(answers.some((answer) => answer.startsWith('Received: from ') && answer.endsWith('Subject: test\r\n')))
    assert.match(answers.at(-1)!, /^everpost_queue_messages 1$/m)
  } finally {
    await everpost.end()
    await peer.close()
  }
})
