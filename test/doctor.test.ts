import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { randomBytes } from 'node:crypto'
import { Client, Connection } from '@temporalio/client'
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker'
import { freePort } from '../dev/ports.ts'
import { makeQueueId } from '../mail/queue-id.ts'
import { startPeer } from '../smtp/testing.ts'
import { makeTestCa } from '../smtp/testing-ca.ts'
import { acceptMessage } from '../store/accept.ts'
import { readRecipients } from '../store/recipients.ts'
import { diagnose, of } from './support/doctor.ts'
import { prepareEverpost } from './support/everpost.ts'
import { newMessage } from './support/messages.ts'
import { until } from './support/until.ts'
import { controlUpdates, messageWorkflowType, statusQuery, wakeSignal } from '../workflows/interface.ts'

Runtime.install({ logger: new DefaultLogger('ERROR', () => {}) })

test('the doctor finds nothing while all is well, and by name what is not: the outbox, lost and late workflows, failing tasks, which go on once a right worker comes', async () => {
  const everpost = await prepareEverpost({ routes: [{ domain: 'dead.test', nextHop: '[127.0.0.1]:1' }], retry: { minimalBackoffTime: '1h' } })
  const connection = await Connection.connect({ address: everpost.temporal })
  const client = new Client({ connection })
  const native = await NativeConnection.connect({ address: everpost.temporal })
  try {
    const running = await everpost.start()
    const [waiting, broken, late] = [await everpost.send('x@dead.test'), await everpost.send('y@dead.test'), await everpost.send('late@dead.test')]
    for (const id of [waiting, broken, late]) await until('it waits', async () => (await readRecipients(everpost.sql, id, 1))[0]!.outcome)
    const well = await diagnose(everpost)
    assert.deepEqual([well.code, well.findings], [0, []])
    assert.ok(well.notes.some((note) => note.startsWith('The clock of Temporal')) && well.notes.some((note) => note.startsWith('The clock of Postgres')))
    await until('nothing is left of how it read the clock', async () => {
      for await (const _ of client.workflow.list({ query: "WorkflowType = 'doctorClock'" })) return false
      return true
    })
    await everpost.stop(running)

    // A message that was accepted, and whose workflow nothing starts; one whose workflow is gone; one whose workflow fails.
    const left = newMessage(['z@dead.test'])
    await acceptMessage(everpost.sql, left)
    await everpost.sql`update messages set accepted_at = now() - interval '5 minutes' where id = ${left.id}`
    await client.workflow.getHandle(waiting).terminate()
    await everpost.sql`update messages set started_at = now() - interval '5 minutes', expires_at = now() - interval '5 minutes' where id in (${waiting}, ${broken})`
    await everpost.sql`update messages set started_at = now() - interval '5 minutes' where id = ${late}`
    await everpost.sql`update recipients set next_attempt_at = now() - interval '5 minutes' where message_id = ${late}`
    const code = readFileSync(fileURLToPath(new URL('../worker/workflow-bundle.js', import.meta.url)), 'utf8')
    // As the replay test has it: one timer more than the history, and no `patched`.
    const changed = code.replace(/const begun = await /, 'await (0, _temporalio_workflow__WEBPACK_IMPORTED_MODULE_0__.sleep)(1); const begun = await ')
    assert.notEqual(changed, code)
    const worker = await Worker.create({
      connection: native, taskQueue: everpost.folder, stickyQueueScheduleToStartTimeout: '1s',
      workflowBundle: { code: changed },
    })
    const polled = worker.run()
    await client.workflow.getHandle(broken).signal('wake')
    const ill = await until('the task has failed a few times', async () => {
      const found = await diagnose(everpost)
      return found.findings.some(({ check }) => check === 'task') && found
    })
    worker.shutdown()
    await polled
    assert.equal(ill.code, 1)
    assert.match(of(ill, 'outbox')[0]!.what, /1 accepted message waits for a workflow/)
    assert.deepEqual(of(ill, 'workflow').map(({ what, ids }) => [what, ids]), [
      ['1 queued message has no open workflow', [waiting]], ['1 message is overdue, though the workflow runs', [late]],
    ])
    assert.match(of(ill, 'backlog')[0]!.what, /2 messages are queued past the end/)
    assert.deepEqual(of(ill, 'task')[0]?.ids, [broken])

    // The right worker comes: what failed goes on where it stood, and the finding is gone.
    await everpost.start()
    assert.deepEqual(await everpost.states(broken), ['expired'])
    await until('no task fails', async () => of(await diagnose(everpost), 'task').length === 0)

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

test('the doctor says so when no worker polls, and a minute and a half after the last one has', async () => {
  const everpost = await prepareEverpost()
  try {
    const found = await diagnose(everpost)
    assert.deepEqual([found.code, found.findings.map(({ check }) => check)], [1, ['worker']])
    assert.match(found.findings[0]!.what, /^no worker polls the task queue \S+$/)

    const running = await everpost.start()
    const polled = await diagnose(everpost)
    assert.deepEqual([polled.findings, polled.notes.find((note) => note.includes('the task queue'))], [[], `1 worker polls the task queue ${everpost.folder}.`])
    await everpost.stop(running)
    // Temporal itself remembers it for five minutes.
    const gone = await until('it is missed', async () => of(await diagnose(everpost), 'worker')[0], 120_000)
    assert.match(gone.what, /; the last one did 1m 3\ds ago$/)
  } finally {
    await everpost.end()
  }
})

test('mail on hold hides nothing from the doctor, and is no finding itself: of what is held, a report that is late alone', async () => {
  const everpost = await prepareEverpost()
  const { sql } = everpost
  try {
    assert.equal((await everpost.command('migrate')).code, 0)
    const [late, owing, ...held] = Array.from({ length: 320 }, () => newMessage(['x@dead.test']))
    await Promise.all([late!, owing!, ...held].map((message) => acceptMessage(sql, message)))
    await sql`
      update messages set accepted_at = now() - interval '2 days', started_at = now() - interval '2 days', expires_at = now() - interval '1 day',
        drive_at = null, held_at = now() - interval '1 day'`
    await sql`update recipients set next_attempt_at = now() - interval '1 day'`
    await sql`update messages set drive_at = now() - interval '5 minutes' where id in (${late!.id}, ${owing!.id})`
    await sql`update messages set held_at = null, accepted_at = now() - interval '7 minutes', expires_at = now() + interval '1 day' where id = ${late!.id}`
    await sql`update recipients set state = 'bouncing' where message_id = ${owing!.id}`
    const found = await diagnose(everpost)
    assert.deepEqual(found.findings.map(({ check, ids }) => [check, ids?.toSorted()]), [['worker', undefined], ['workflow', [late!.id, owing!.id].toSorted()]])
    assert.match(found.notes.find((note) => note.includes('on hold'))!, /^319 on hold, the oldest since .*\(1d ago\)/)
    assert.ok(found.notes.includes('2 workflows of queued messages looked at.'))
  } finally {
    await everpost.end()
  }
})

test('mail that a database does not know that was taken back: its workflows end with that word, in the log too, and the doctor lists them', async () => {
  const peer = await startPeer({ rcpt: { 'x@slow.test': '451 4.3.0 later' } })
  const everpost = await prepareEverpost({
    routes: [{ domain: 'slow.test', nextHop: `[127.0.0.1]:${peer.port}` }], retry: { minimalBackoffTime: '1h' },
  })
  const connection = await Connection.connect({ address: everpost.temporal })
  const { workflow } = new Client({ connection })
  try {
    const running = await everpost.start()
    let log = ''
    running.stdout!.on('data', (text) => {
      log += text
    })
    const [waits, reports, steered, held, kept] = await Promise.all(Array.from({ length: 5 }, () => everpost.send('x@slow.test')))
    for (const id of [waits, reports, steered, held, kept]) await until('it waits', async () => (await readRecipients(everpost.sql, id!, 1))[0]!.outcome)
    await everpost.command('hold', steered!, held!)
    await everpost.sql`delete from messages where id <> ${kept!}`
    await workflow.getHandle(waits!).signal(wakeSignal)
    const steer = workflow.getHandle(steered!).executeUpdate(controlUpdates.release, { args: [{ who: 'me', why: 'looked at', recipients: null }] as never })
    await assert.rejects(steer, ({ cause }) => /the database does not know this message/.test(String(cause)))
    // One whose first pass was never run.
    const never = makeQueueId(Date.now(), randomBytes(8))
    await workflow.start(messageWorkflowType, { workflowId: never, taskQueue: everpost.folder, args: [{ id: never }] })
    for (const id of [waits, steered, never]) {
      await until('it has failed', async () => (await workflow.getHandle(id!).describe()).status.name === 'FAILED')
      await assert.rejects(workflow.getHandle(id!).result(), ({ cause }) => /the database does not know this message/.test(String(cause)))
    }
    assert.equal((await workflow.getHandle(waits!).query(statusQuery)).recipients[0]!.forwardPath, 'x@slow.test', 'Temporal still knows whose it was')
    const failures = await until('the log tells of it', () => {
      const lines = log.split('\n').slice(0, -1).filter((line) => line.includes('"Activity failed"'))
      return lines.length > 0 && lines.map((line) => JSON.parse(line).temporal.error)
    })
    assert.ok(failures.every((error) => error.message === 'the database does not know this message'), log)
    assert.ok(failures.some(({ stack }) => stack.includes('readProgress')), log)
    assert.ok(!log.includes('"isLocal":false'), 'it is not tried again')

    const lost = await until('Temporal lists them', async () => {
      const [finding] = of(await diagnose(everpost), 'lost')
      return finding?.ids?.length === 5 && finding
    })
    assert.deepEqual(lost.ids, [waits!, reports!, steered!, held!, never].toSorted())
  } finally {
    await connection.close()
    await everpost.end()
    await peer.close()
  }
})

test('the doctor names certificates that have expired, or will within two weeks: of listeners, by name too, and of ours as a client', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-ends-'))
  const ca = await makeTestCa()
  const pair = async (name: string, days: number) => {
    const { cert, key } = await ca.issue(name, new Date(Date.now() + days * 86_400_000 + 3_600_000))
    const paths = { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) }
    // The chain with it: what ends first counts.
    writeFileSync(paths.cert, cert + ca.cert)
    writeFileSync(paths.key, key)
    return paths
  }
  const everpost = await prepareEverpost({
    tls: { ...(await pair('mx.test', 13)), names: { 'old.test': await pair('old.test', -3), 'good.test': await pair('good.test', 15), 'gone.test': { cert: join(folder, 'none.pem'), key: 'x' } } },
    routes: [{ domain: 'relay.test', nextHop: '[relay.test]:25', tls: { level: 'verify', ...(await pair('client.test', 0)) } }],
  })
  try {
    const found = await diagnose(everpost)
    const told = of(found, 'certificate')
    assert.deepEqual(told.map(({ what }) => what.replace(/, at .*/, '').replace(/ \d+[hms]\b/g, '')), [
      `the certificate of the listeners, ${folder}/mx.test.pem, expires in 13d`,
      `the certificate of the listeners for old.test, ${folder}/old.test.pem, has expired 2d ago`,
      `the certificate of this client of [relay.test]:25, ${folder}/client.test.pem, expires in`,
    ])
    const again = 'They are read again within a minute, or at SIGHUP.'
    assert.deepEqual(told.map(({ todo }) => todo.split('files. ')[1]), [again, again, 'Then restart the workers.'])
    assert.ok(found.notes.some((note) => note.startsWith('The certificate of the listeners for good.test is valid until ')))
    assert.ok(found.notes.some((note) => note.includes('none.pem, cannot be read from here (ENOENT)')))
  } finally {
    await everpost.end()
    rmSync(folder, { recursive: true })
  }
})
