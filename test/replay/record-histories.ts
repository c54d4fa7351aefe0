// npm run record-histories: records the histories of real runs, one for each course that a message can take, for replay.test.ts. To be
// run when a release changes the workflow, and the new files kept beside the old ones: mail in flight has histories of both.

import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client, Connection } from '@temporalio/client'
import { findTemporal } from '../../dev/temporal.ts'
import { readRecipients } from '../../store/recipients.ts'
import { startPeer } from '../../smtp/testing.ts'
import { prepareEverpost } from '../support/everpost.ts'
import { until } from '../support/until.ts'

const folder = fileURLToPath(new URL('../../../test/replay/histories/', import.meta.url))

test('record', { timeout: 240_000 }, async () => {
  const script = { rcpt: { 'later@partner.test': '451 4.3.0 later', 'never@partner.test': '451 4.3.0 later', 'gone@partner.test': '550 5.1.1 no such user' } as Record<string, string> }
  const [peer, tarpit] = [await startPeer(script), await startPeer({ dot: 'silent' })]
  const everpost = await prepareEverpost({
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }, { domain: 'tarpit.test', nextHop: `[127.0.0.1]:${tarpit.port}` }, { domain: 'suspended.test', nextHop: '[127.0.0.1]:1' }],
    transfer: { fastLane: '500ms', dotTimeout: '3s' }, reports: { delayAfter: '2s' }, worker: { lease: '5s' },
    retry: { minimalBackoffTime: '500ms', maximalBackoffTime: '2s', lifetimes: [{ from: 'brief@example.test', lifetime: '6s' }] }, destinations: { resumeOver: '1s' },
  })
  const connection = await Connection.connect({ address: everpost.temporal })
  const client = new Client({ connection })
  try {
    await everpost.start()
    const courses: Record<string, string> = {}
    courses['delivered-at-once'] = await everpost.send('friend@partner.test')
    courses['delivered-locally'] = await everpost.send(['bob@example.test', 'alice@example.test'])
    courses['several-next-hops'] = await everpost.send(['friend@partner.test', 'bob@example.test', 'gone@partner.test', 'x@tarpit.test'], 'brief@example.test')
    courses['bounced'] = await everpost.send(['gone@partner.test', 'friend@partner.test', 'bob@example.test'], 'brief@example.test')
    courses['dead-letter'] = await everpost.send('gone@partner.test', '')
    courses['delayed-then-expired'] = await everpost.send(['never@partner.test', 'friend@partner.test'], 'brief@example.test')
    courses['reply-to-the-dot-lost'] = await everpost.send('friend@tarpit.test', 'brief@example.test')
    courses['deferred-then-delivered'] = await everpost.send('later@partner.test')
    await until('it is deferred', async () => (await readRecipients(everpost.sql, courses['deferred-then-delivered']!, 1))[0]!.attempts >= 2)
    delete script.rcpt['later@partner.test']
    await everpost.command('destination', 'suspend', '[127.0.0.1]:1')
    courses['suspended-then-resumed'] = await everpost.send('friend@suspended.test', 'brief@example.test')
    await until('it waits', async () => (await readRecipients(everpost.sql, courses['suspended-then-resumed']!, 1))[0]!.waits)
    await everpost.command('destination', 'resume', '[127.0.0.1]:1')
    courses['steered'] = await everpost.send(['later@partner.test', 'never@partner.test', 'bob@example.test'])
    await until('they are deferred', async () => (await readRecipients(everpost.sql, courses['steered']!, 2)).every(({ outcome }) => outcome))
    for (const words of [['hold'], ['set-lifetime', '--lifetime', '9d'], ['release'], ['retry'], ['drop', '--recipient', 'never@*']]) {
      await everpost.command(words[0]!, courses['steered']!, ...words.slice(1))
    }
    for (const id of Object.values(courses)) await everpost.states(id)
    mkdirSync(folder, { recursive: true })
    const { path } = await findTemporal(console.log)
    for (const [name, id] of Object.entries(courses)) {
      const handle = client.workflow.getHandle(id)
      await until('it has ended', async () => (await handle.describe()).status.name === 'COMPLETED')
      // By Temporal's own CLI: the SDK's writer of this form does not work with the protobufjs that npm installs beside it.
      const history = execFileSync(path, ['workflow', 'show', '--workflow-id', id, '--output', 'json', '--address', everpost.temporal], { encoding: 'utf8', maxBuffer: 1e8 })
      writeFileSync(`${folder}${name}.json`, `${withoutPlace(history, everpost.folder)}\n`)
    }
  } finally {
    await connection.close()
    await everpost.end()
    await Promise.all([peer.close(), tarpit.close()])
  }
})

/** What names the machine says nothing about the course of a message. */
function withoutPlace(history: string, folder: string): string {
  return JSON.stringify(JSON.parse(history)).replaceAll(folder, 'everpost').replace(/"identity":"[^"]*"/g, '"identity":"recorder"')
}
