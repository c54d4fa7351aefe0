import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client, Connection } from '@temporalio/client'
import { Worker } from '@temporalio/worker'
import { startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'
import { testTemporal } from './support/temporal.ts'
import { until } from './support/until.ts'

const bundle = fileURLToPath(new URL('../worker/workflow-bundle.js', import.meta.url))

test('messages to several next hops at once, some deferred: they survive the death of their worker, arrive once, and replay as they ran', async () => {
  const script = { rcpt: { '*': '450 4.2.0 later' } as Record<string, string> }
  const [prompt, reluctant] = [await startPeer(), await startPeer(script)]
  const everpost = await prepareEverpost({
    routes: [{ domain: 'prompt.test', nextHop: `[127.0.0.1]:${prompt.port}` }, { domain: 'later.test', nextHop: `[127.0.0.1]:${reluctant.port}` }, { domain: 'down.test', nextHop: '[127.0.0.1]:1' }],
  })
  const connection = await Connection.connect({ address: everpost.temporal })
  const client = new Client({ connection })
  const replay = async (id: string) => await Worker.runReplayHistory({ workflowBundle: { codePath: bundle } }, await client.workflow.getHandle(id).fetchHistory(), id)
  try {
    const first = await everpost.start()
    const ids: string[] = []
    for (let i = 0; i < 5; i++) ids.push(await everpost.send([`a${i}@prompt.test`, `b${i}@later.test`, `c${i}@example.test`, `d${i}@down.test`]))
    for (const id of ids) await until('all have been tried', async () => (await readAttempts(everpost.sql, id, 20)).filter(({ endedAt }) => endedAt).length >= 5)
    for (const id of ids) await replay(id)
    await everpost.stop(first, 'SIGKILL')
    script.rcpt = {}
    await everpost.start()
    const settled = (states: string[]) => states.slice(0, 3).every((state) => state === 'delivered')
    for (const id of ids) assert.deepEqual((await everpost.states(id, settled)).slice(0, 3), ['delivered', 'delivered', 'delivered'])
    for (const id of ids) await replay(id)
    const dots = (await Promise.all(ids.map((id) => readAttempts(everpost.sql, id, 100)))).flat().filter(({ dotAt, lost }) => dotAt && lost).length
    assert.ok(prompt.messages.length + reluctant.messages.length <= 10 + dots)
    for (let i = 0; i < 5; i++) assert.equal(everpost.maildir(`c${i}`).length, 1)
  } finally {
    await connection.close()
    await everpost.end()
    await Promise.all([prompt.close(), reluctant.close()])
  }
})

test('a message to many next hops goes on while some of them hang, however long its history: in a fresh run, which takes over what is under way', async () => {
  const temporal = await testTemporal({ 'limit.historyCount.suggestContinueAsNew': 60 })
  await temporal.start()
  const [prompt, mute, slow] = [await startPeer({}, '0.0.0.0'), await startPeer({ greeting: 'silent' }), await startPeer({ dot: 'silent' })]
  const hops = Array.from({ length: 120 }, (_, i) => ({ domain: `d${i}.test`, nextHop: `[127.0.1.${i + 1}]:${prompt.port}` }))
  const [muteHop, slowHop] = [`[127.0.0.1]:${mute.port}`, `[127.0.0.1]:${slow.port}`]
  const everpost = await prepareEverpost({
    routes: [...hops, { domain: 'mute.test', nextHop: muteHop }, { domain: 'slow.test', nextHop: slowHop }], transfer: { fastLane: '1s' },
  }, temporal.address)
  const connection = await Connection.connect({ address: temporal.address })
  const handle = (id: string) => new Client({ connection }).workflow.getHandle(id)
  try {
    await everpost.start()
    // Those that hang are among the first.
    const id = await everpost.send(['a@mute.test', 'a@slow.test', ...hops.map(({ domain }) => `a@${domain}`)])
    const first = await until('its workflow runs', async () => await handle(id).describe().then(({ runId }) => runId, () => null))
    const states = await everpost.states(id, (states) => states.filter((state) => state === 'delivered').length === hops.length)
    assert.deepEqual(states.filter((state) => state !== 'delivered'), ['queued', 'queued'])
    await until('it goes on in a fresh run', async () => (await handle(id).describe()).runId !== first)
    await Worker.runReplayHistory({ workflowBundle: { codePath: bundle } }, await new Client({ connection }).workflow.getHandle(id, first).fetchHistory(), id)
    await until('what was before its dot was broken off, and is tried again', () => mute.connections > 1)
    // What was past its dot keeps its recipients, and the next run finds its lease.
    const attempts = await readAttempts(everpost.sql, id, 1000)
    assert.deepEqual([slow.messages.length, prompt.messages.length], [1, hops.length])
    assert.deepEqual([muteHop, slowHop].map((hop) => attempts.filter(({ nextHop, endedAt }) => nextHop === hop && !endedAt).length), [1, 1])
  } finally {
    await connection.close()
    await everpost.end()
    await temporal.end()
    await Promise.all([prompt.close(), mute.close(), slow.close()])
  }
})
