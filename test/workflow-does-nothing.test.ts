import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Worker } from '@temporalio/worker'
import { freePort } from '../dev/ports.ts'
import { startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import { type Everpost, prepareEverpost } from './support/everpost.ts'
import { connectTemporal } from './support/temporal-client.ts'
import { until } from './support/until.ts'

const { client, native } = await connectTemporal()
const bundle = readFileSync(fileURLToPath(new URL('../worker/workflow-bundle.js', import.meta.url)), 'utf8')

/** The outbox finds all that is queued overdue, so many times, as it would five minutes apart. */
async function drive({ sql }: Everpost, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    await sql`update recipients set next_attempt_at = now() - interval '1 hour' where state = 'queued'`
    await sql`update messages set drive_at = now() where state = 'queued'`
    await until('all were driven', async () => (await sql`select from messages where drive_at < now() + interval '1 minute'`).length === 0)
  }
}

const runs = (ids: string[]) => Promise.all(ids.map(async (id) => (await client.workflow.getHandle(id).describe()).runId))

test('while no worker answers, workflows that wait for one are left as they are, however long; the log says so in a line', async () => {
  const port = await freePort()
  const everpost = await prepareEverpost({ retry: { minimalBackoffTime: '3s' }, destinations: { circuitFailures: 100 }, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${port}` }] })
  let peer: Awaited<ReturnType<typeof startPeer>> | undefined
  try {
    const serve = await everpost.start()
    const ids = await Promise.all(Array.from({ length: 5 }, (_, i) => everpost.send(`r${i}@partner.test`)))
    for (const id of ids) await until('a first attempt', async () => (await readAttempts(everpost.sql, id, 1))[0]?.endedAt)
    await everpost.stop(serve)
    const before = await runs(ids)
    let log = ''
    const ingress = await everpost.start('ingress')
    ingress.stdout!.on('data', (text) => { log += text })
    await drive(everpost, 9)
    assert.deepEqual(await runs(ids), before)
    const lines = log.split('\n').filter((line) => line.includes('workflow'))
    assert.equal(lines.length, 1, log)
    assert.match(lines[0]!, /"level":(40|"warn").*"workflows":5.*no worker answers/)

    peer = await startPeer({}, '127.0.0.1', port)
    await everpost.start('worker')
    for (const id of ids) assert.deepEqual(await everpost.states(id), ['delivered'])
  } finally {
    await everpost.end()
    await peer?.close()
  }
})

const broken = {
  'whose tasks fail': "throw new Error('broken')\n",
  'that waits for nothing': 'await (0, _temporalio_workflow__WEBPACK_IMPORTED_MODULE_0__.condition)(() => false)\n',
}

for (const [which, line] of Object.entries(broken)) {
  test(`a workflow ${which} is made anew from the tables`, async () => {
    const everpost = await prepareEverpost()
    const code = bundle.replace(/const begun = await /, `${line}$&`)
    assert.notEqual(code, bundle)
    const worker = await Worker.create({ connection: native, taskQueue: everpost.folder, workflowBundle: { code } })
    const ended = worker.run()
    try {
      await everpost.start('ingress')
      const id = await everpost.send('carol@example.test')
      await everpost.sql`update messages set started_at = now()`
      const showsItself = () => until('it has done what it does', async () => {
        const found = await client.workflow.getHandle(id).describe().catch(() => null)
        return found && (found.raw.pendingWorkflowTask?.attempt ?? 2) > 1
      })
      await showsItself()
      const before = await runs([id])
      await drive(everpost, 3)
      assert.deepEqual(await runs([id]), before)
      await showsItself()
      worker.shutdown()
      await ended
      await drive(everpost, 1)
      assert.notDeepEqual(await runs([id]), before)
      await everpost.start('worker')
      assert.deepEqual(await everpost.states(id), ['delivered'])
    } finally {
      if (worker.getState() === 'RUNNING') worker.shutdown()
      await ended
      await everpost.end()
    }
  })
}
