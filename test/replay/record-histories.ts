// npm run record-histories: records the histories of real runs, one for each course that a message can take, for replay.test.ts. To be
// run when a release changes the workflow, and the new files kept beside the old ones: mail in flight has histories of both.

import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client, Connection } from '@temporalio/client'
import { ensureCertificate } from '../../dev/certificate.ts'
import { findTemporal, startTemporal } from '../../dev/temporal.ts'
import { hashPassword } from '../../ingress/password.ts'
import { searchAttributes } from '../../mail/search.ts'
import { readRecipients } from '../../store/recipients.ts'
import { startPeer } from '../../smtp/testing.ts'
import { controlUpdates } from '../../workflows/interface.ts'
import { type Everpost, prepareEverpost } from '../support/everpost.ts'
import { submitLater } from '../support/submit-later.ts'
import { until } from '../support/until.ts'

const folder = fileURLToPath(new URL('../../../test/replay/histories/', import.meta.url))
mkdirSync(folder, { recursive: true })
/** Events after which the Temporal of one course suggests to go on in a fresh run. By its default, and ours, the file would be a hundred times as long. */
const suggested = 60

test('record', { timeout: 240_000 }, async () => {
  const script = { rcpt: { 'later@partner.test': '451 4.3.0 later', 'never@partner.test': '451 4.3.0 later', 'gone@partner.test': '550 5.1.1 no such user' } as Record<string, string> }
  const [peer, tarpit, mute] = [await startPeer(script), await startPeer({ dot: 'silent' }), await startPeer({ greeting: 'silent' })]
  const certificates = mkdtempSync(join(tmpdir(), 'everpost-record-'))
  const everpost = await prepareEverpost({
    listeners: (['smtp', 'submission'] as const).map((kind) => ({ kind, address: '127.0.0.1', port: 0 })), tls: await ensureCertificate(certificates, 'mx.example.test'),
    users: [{ name: 'alice@example.test', passwordHash: await hashPassword('wonderland') }],
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }, { domain: 'tarpit.test', nextHop: `[127.0.0.1]:${tarpit.port}` },
      { domain: 'mute.test', nextHop: `[127.0.0.1]:${mute.port}` }, { domain: 'suspended.test', nextHop: '[127.0.0.1]:1' }],
    transfer: { fastLane: '500ms', greetingTimeout: '3s', dotTimeout: '3s' }, reports: { delayAfter: '2s' }, worker: { lease: '5s' },
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
    courses['refused-beside-a-slow-one'] = await everpost.send(['gone@partner.test', 'x@mute.test'], 'brief@example.test')
    courses['dead-letter'] = await everpost.send('gone@partner.test', '')
    courses['delayed-then-expired'] = await everpost.send(['never@partner.test', 'friend@partner.test'], 'brief@example.test')
    courses['scheduled'] = await submitLater(everpost, 'friend@partner.test', 4)
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
    const steered = client.workflow.getHandle(courses['steered'])
    const [by, never] = [{ who: 'me', why: '' }, 1]
    await steered.executeUpdate(controlUpdates.hold, { args: [by] })
    await steered.executeUpdate(controlUpdates['set-lifetime'], { args: [{ ...by, lifetime: 9 * 86_400_000 }] })
    await everpost.command('release', courses['steered'])
    await steered.executeUpdate(controlUpdates.bounce, { args: [{ ...by, recipients: [never] }] })
    await everpost.command('drop', courses['steered'])
    for (const id of Object.values(courses)) await everpost.states(id)
    for (const [name, id] of Object.entries(courses)) {
      const handle = client.workflow.getHandle(id)
      await until('it has ended', async () => (await handle.describe()).status.name === 'COMPLETED')
      await write(name, everpost, id)
    }
  } finally {
    await connection.close()
    await everpost.end()
    await Promise.all([peer.close(), tarpit.close(), mute.close()])
    rmSync(certificates, { recursive: true, force: true })
  }
})

test('record a message that goes on in a fresh run', { timeout: 240_000 }, async () => {
  const temporal = await startSuggesting()
  const script = { rcpt: { 'later@partner.test': '451 4.3.0 later' } as Record<string, string> }
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }], retry: { minimalBackoffTime: '200ms', maximalBackoffTime: '300ms' },
  }, temporal.address)
  const connection = await Connection.connect({ address: temporal.address })
  try {
    await everpost.start()
    const id = await everpost.send(['later@partner.test', 'friend@partner.test'])
    const handle = new Client({ connection }).workflow.getHandle(id)
    const run = async () => (await handle.describe()).runId
    const first = await until('its workflow runs', () => run().catch(() => null))
    await until('it goes on in a fresh run', async () => (await run()) !== first)
    delete script.rcpt['later@partner.test']
    await everpost.states(id)
    await until('it has ended', async () => (await handle.describe()).status.name === 'COMPLETED')
    await write('continued-as-new', everpost, id, first)
    await write('continued-from-before', everpost, id)
  } finally {
    await connection.close()
    await everpost.end()
    await peer.close()
    await temporal.stop()
  }
})

/** By Temporal's own CLI: the SDK's writer of this form does not work with the protobufjs that npm installs beside it. */
async function write(name: string, everpost: Everpost, id: string, run?: string): Promise<void> {
  const { path } = await findTemporal(console.log)
  const which = ['--workflow-id', id, ...(run ? ['--run-id', run] : [])]
  const history = execFileSync(path, ['workflow', 'show', ...which, '--output', 'json', '--address', everpost.temporal], { encoding: 'utf8', maxBuffer: 1e8 })
  writeFileSync(`${folder}${name}.json`, `${withoutPlace(history, everpost.folder)}\n`)
}

/** A Temporal that suggests a fresh run after so many events. */
async function startSuggesting(): Promise<{ address: string; stop(): Promise<void> }> {
  const own = mkdtempSync(join(tmpdir(), 'everpost-record-'))
  const dynamicConfig = { 'limit.historyCount.suggestContinueAsNew': suggested }
  const temporal = await startTemporal({ folder: own, inMemory: true, searchAttributes, dynamicConfig, progress: console.log })
  return {
    address: temporal.address,
    async stop() {
      await temporal.stop()
      rmSync(own, { recursive: true, force: true })
    },
  }
}

/** What names the machine says nothing about the course of a message. */
function withoutPlace(history: string, folder: string): string {
  return JSON.stringify(JSON.parse(history)).replaceAll(folder, 'everpost').replaceAll(`@${hostname()}-`, '@recorder-').replace(/"identity":"[^"]*"/g, '"identity":"recorder"')
}
