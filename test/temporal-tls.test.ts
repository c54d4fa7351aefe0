import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { SettingsFile } from '../settings/schema.ts'
import { makeTestCa, type TestCa } from '../smtp/testing-ca.ts'
import { diagnose, of } from './support/doctor.ts'
import { type Everpost, prepareEverpost } from './support/everpost.ts'
import { startGate } from './support/temporal-gate.ts'
import { until } from './support/until.ts'

const folder = mkdtempSync(join(tmpdir(), 'everpost-temporal-tls-'))
const temporal = process.env['EVERPOST_TEST_TEMPORAL']!
const ca = await makeTestCa()
const pair = await ca.issue('temporal.test')
const path = (name: string) => join(folder, name)
after(() => rmSync(folder, { recursive: true }))

writeFileSync(path('ca.pem'), ca.cert)
const tls = { ca: path('ca.pem'), servername: 'temporal.test' }
const mutual = { ...tls, cert: path('client.pem'), key: path('client.key') }

/** Puts a client certificate of this CA where the settings look for it. */
async function install(from: TestCa): Promise<void> {
  const { cert, key } = await from.issue('everpost.test')
  writeFileSync(mutual.cert, cert)
  writeFileSync(mutual.key, key)
}

interface Both {
  everpost: Everpost
  children: ChildProcess[]
  told(pattern: RegExp, by?: number, since?: number): Promise<unknown>
  lines: string[]
}

/** An ingress and a worker of their own, and the lines of their logs; `told`: once so many of the two have said so. */
async function both(settings: NonNullable<SettingsFile['temporal']>): Promise<Both> {
  const everpost = await prepareEverpost({ temporal: { taskQueue: folder + settings.address, ...settings } })
  const lines: string[] = []
  const children: ChildProcess[] = []
  for (const role of ['ingress', 'worker']) {
    const child = await everpost.start(role)
    child.stdout!.on('data', (text: string) => lines.push(...text.split('\n')))
    children.push(child)
  }
  const told: Both['told'] = (pattern, by = 2, since = 0) => until(`the logs say ${pattern}`, () => lines.slice(since).filter((line) => pattern.test(line)).length >= by)
  return { everpost, children, lines, told }
}

async function isDelivered(everpost: Everpost): Promise<void> {
  assert.deepEqual(await everpost.states(await everpost.send('alice@example.test')), ['delivered'])
}

test('mTLS towards Temporal: mail is delivered, the doctor is content, and a renewed certificate is used without a restart', async () => {
  await install(ca)
  const gate = await startGate({ temporal, pair, clientCa: ca.cert })
  const { everpost, children, told } = await both({ address: gate.address, tls: mutual })
  try {
    await isDelivered(everpost)
    assert.deepEqual((await diagnose(everpost)).findings, [])

    const other = await makeTestCa()
    await install(other)
    for (const child of children) child.kill('SIGHUP')
    await told(/certificates or key for Temporal read again/)
    gate.change({ clientCa: other.cert })
    await isDelivered(everpost)
    for (const child of children) assert.equal(child.exitCode, null)

    // A pair that does not fit is told, and not used.
    writeFileSync(mutual.key, (await ca.issue('everpost.test')).key)
    for (const child of children) child.kill('SIGHUP')
    await told(/client\.pem and .*client\.key are no certificate and its key.*not read again: the old ones stay/)
    await isDelivered(everpost)
  } finally {
    await everpost.end()
    await gate.close()
  }
})

test('a client certificate that Temporal does not take: the doctor and both logs say so, mail is accepted, and goes out once the right one is there', async () => {
  await install(await makeTestCa())
  const gate = await startGate({ temporal, pair, clientCa: ca.cert })
  const { everpost, children, told, lines } = await both({ address: gate.address, tls: mutual })
  try {
    const id = await everpost.send('alice@example.test')
    const { code, findings } = await diagnose(everpost)
    assert.deepEqual([code, findings.map(({ check }) => check)], [1, ['temporal']])
    assert.match(findings[0]!.what, /does not take our client certificate/)
    assert.match(findings[0]!.todo, /temporal\.tls\.cert/)
    await told(/"error":"Temporal at \S+ does not take our client certificate.*"todo":"Give temporal\.tls\.cert.*Temporal is away; mail is accepted and waits/)
    assert.equal(lines.filter((line) => line.includes('"todo"')).length, 2, 'once for each process, not for each try')

    await install(ca)
    for (const child of children) child.kill('SIGHUP')
    assert.deepEqual(await everpost.states(id), ['delivered'])
  } finally {
    await everpost.end()
    await gate.close()
  }
})

test('a role does not start with a certificate for Temporal that is missing, and config says so', async () => {
  const everpost = await prepareEverpost({ temporal: { address: temporal, tls: { ca: path('none.pem') } } })
  try {
    for (const role of ['ingress', 'worker', 'serve']) {
      const { code, stderr } = await everpost.command(role)
      assert.equal(code, 78)
      assert.match(stderr, /none\.pem cannot be read \(ENOENT\)\. Check temporal\.tls\.ca in the settings/)
    }
    assert.match((await everpost.command('config')).stderr, /no worker or ingress will start here: .*none\.pem/)
  } finally {
    await everpost.end()
  }
})

test('an API key is borne by each call, of ingress, worker and commands; one that is refused is told, and another one taken from the file', async () => {
  writeFileSync(path('key'), 'first-key-of-ours\n')
  // As Temporal's own authorizer has it: who only connects is let in.
  const gate = await startGate({ temporal, pair, key: 'first-key-of-ours', open: (path) => path.endsWith('/GetSystemInfo') })
  const { everpost, children, told, lines } = await both({ address: gate.address, tls, apiKeyFile: path('key') })
  try {
    await isDelivered(everpost)
    assert.deepEqual((await diagnose(everpost)).findings, [])
    const methods = new Set(gate.calls.map(({ method }) => method))
    const wanted = ['StartWorkflowExecution', 'PollWorkflowTaskQueue', 'PollActivityTaskQueue', 'RespondWorkflowTaskCompleted', 'DescribeNamespace', 'DescribeTaskQueue']
    assert.deepEqual(wanted.filter((method) => !methods.has(method)), [])
    assert.deepEqual(gate.calls.filter(({ authorization }) => authorization !== 'Bearer first-key-of-ours'), [])

    const since = lines.length
    gate.change({ key: 'second-key-of-ours' })
    const id = await everpost.send('alice@example.test')
    const refused = of(await diagnose(everpost), 'temporal')
    assert.deepEqual(refused.map(({ what }) => what), [`Temporal at ${gate.address} refuses our API key (UNAUTHENTICATED)`])
    assert.match(refused[0]!.todo, /temporal\.apiKeyFile/)
    await told(/refuses our API key \(UNAUTHENTICATED\).*"todo":"Set TEMPORAL_API_KEY.*Temporal is away; mail is accepted and waits/, 2, since)

    writeFileSync(path('key'), 'second-key-of-ours\n')
    for (const child of children) child.kill('SIGHUP')
    assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.ok(!lines.some((line) => /(first|second)-key-of-ours/.test(line)), 'the key is in no log')
  } finally {
    await everpost.end()
    await gate.close()
  }
})

test('config shows no API key', async () => {
  const everpost = await prepareEverpost({ temporal: { address: temporal, apiKey: 'first-key-of-ours' } })
  try {
    const { stdout } = await everpost.command('config', '--all')
    assert.match(stdout, /apiKey: "\*\*\*"/)
    assert.doesNotMatch(stdout, /first-key/)
  } finally {
    await everpost.end()
  }
})
