import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client, Connection } from '@temporalio/client'
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker'
import { freePort } from '../dev/ports.ts'
import { acceptMessage } from '../store/accept.ts'
import { readRecipients } from '../store/recipients.ts'
import { type Everpost, prepareEverpost } from './support/everpost.ts'
import { newMessage } from './support/messages.ts'
import { until } from './support/until.ts'

Runtime.install({ logger: new DefaultLogger('ERROR', () => {}) })

interface Diagnosis {
  well: boolean
  findings: { check: string; what: string; todo: string; ids?: string[] }[]
  notes: string[]
}

async function diagnose(everpost: Everpost, ...more: string[]): Promise<Diagnosis & { code: number }> {
  const { code, stdout, stderr } = await everpost.command(...more, 'doctor', '--json')
  assert.equal(stderr, '')
  const found = JSON.parse(stdout) as Diagnosis
  for (const { todo } of found.findings) assert.ok(todo.length > 20)
  return { ...found, code }
}

test('the doctor finds nothing while all is well, and by name what is not: the outbox, lost workflows, failing tasks, absent workers and servers', async () => {
  const everpost = await prepareEverpost({ routes: [{ domain: 'dead.test', nextHop: '[127.0.0.1]:1' }], retry: { minimalBackoffTime: '1h' } })
  const connection = await Connection.connect({ address: everpost.temporal })
  const client = new Client({ connection })
  const native = await NativeConnection.connect({ address: everpost.temporal })
  try {
    const running = await everpost.start()
    const [waiting, broken] = [await everpost.send('x@dead.test'), await everpost.send('y@dead.test')]
    for (const id of [waiting, broken]) await until('it waits', async () => (await readRecipients(everpost.sql, id, 1))[0]!.outcome)
    const well = await diagnose(everpost)
    assert.deepEqual([well.code, well.findings], [0, []])
    assert.ok(well.notes.some((note) => note.startsWith('The clock of Temporal')) && well.notes.some((note) => note.startsWith('The clock of Postgres')))
    await everpost.stop(running)

    // A message that was accepted, and whose workflow nothing starts; one whose workflow is gone; one whose workflow fails.
    const left = newMessage(['z@dead.test'])
    await acceptMessage(everpost.sql, left)
    await everpost.sql`update messages set accepted_at = now() - interval '5 minutes' where id = ${left.id}`
    await client.workflow.getHandle(waiting).terminate()
    await everpost.sql`update messages set started_at = now() - interval '5 minutes', expires_at = now() - interval '5 minutes' where id in (${waiting}, ${broken})`
    const code = readFileSync(fileURLToPath(new URL('../worker/workflow-bundle.js', import.meta.url)), 'utf8')
    const worker = await Worker.create({
      connection: native, taskQueue: everpost.folder, stickyQueueScheduleToStartTimeout: '1s',
      workflowBundle: { code: code.replace(/const begun = await /, 'throw new TypeError("not as it was"); const begun = await ') },
    })
    const polled = worker.run()
    await client.workflow.getHandle(broken).signal('wake')
    const ill = await until('the task has failed a few times', async () => {
      const found = await diagnose(everpost)
      return found.findings.some(({ check }) => check === 'task') && found
    })
    worker.shutdown()
    await polled
    const of = (found: Diagnosis, check: string) => found.findings.filter((finding) => finding.check === check)
    assert.equal(ill.code, 1)
    assert.match(of(ill, 'outbox')[0]!.what, /1 accepted message waits for a workflow/)
    assert.deepEqual(of(ill, 'workflow')[0]!.ids, [waiting])
    assert.match(of(ill, 'backlog')[0]!.what, /2 messages are queued past the end/)
    assert.deepEqual(of(ill, 'task')[0]?.ids, [broken])

    await everpost.sql.unsafe('alter database ' + everpost.sql.options.database + ' set synchronous_commit = off')
    assert.match(of(await diagnose(everpost), 'postgres')[0]!.what, /synchronous_commit is off/)
  } finally {
    await native.close()
    await connection.close()
    await everpost.end()
  }
})

test('the doctor says so when Temporal or Postgres is away', async () => {
  const everpost = await prepareEverpost({ temporal: { address: `127.0.0.1:${await freePort()}` } })
  try {
    const found = await diagnose(everpost)
    assert.equal(found.code, 1)
    assert.deepEqual(found.findings.map(({ check }) => check), ['temporal'])
  } finally {
    await everpost.end()
  }
})

test('the doctor says so when no worker polls', async () => {
  const everpost = await prepareEverpost()
  try {
    const found = await diagnose(everpost)
    assert.deepEqual([found.code, found.findings.map(({ check }) => check)], [1, ['worker']])
  } finally {
    await everpost.end()
  }
})
