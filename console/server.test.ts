import assert from 'node:assert/strict'
import { Agent, get } from 'node:http'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { startConsole } from './server.ts'

async function startSlow(watched: unknown = {}) {
  let answer = (_: string) => {}
  let asked = () => {}
  const isAsked = new Promise<void>((resolve) => { asked = resolve })
  const server = await startConsole({
    sql: {} as never, watched: watched as never, api: { maximalSize: 1000 } as never, address: '127.0.0.1', port: 0, parts: () => ({}),
    metrics: { open: true, text: () => new Promise((resolve) => { answer = resolve; asked() }) },
  })
  return { server, url: `http://127.0.0.1:${server.port}`, isAsked, answer: (said: string) => answer(said) }
}

const ask = (url: string, agent: Agent) => new Promise<string>((resolve, reject) => {
  get(url, { agent }, (answer) => text(answer).then((said) => resolve(`${answer.headers.connection}: ${said}`), reject)).on('error', reject)
})

test('a request under way is answered though the listener stops, and then its connection ends, as an idle one does at once', async () => {
  const { server, url, isAsked, answer } = await startSlow()
  const agents = [new Agent({ keepAlive: true }), new Agent({ keepAlive: true })] as const
  await ask(`${url}/healthz`, agents[1])
  const answered = ask(`${url}/metrics`, agents[0])
  await isAsked
  let cut = false
  const stopped = server.stop().then(() => { cut = true })
  await assert.rejects(ask(`${url}/healthz`, agents[1]), /ECONNREFUSED|ECONNRESET|hang up/)
  assert.equal(cut, false)
  answer('said')
  assert.equal(await answered, 'close: said')
  await stopped
})

test('a request that is not answered does not keep the listener from stopping', async () => {
  const { server, url, isAsked } = await startSlow()
  const agent = new Agent()
  const answered = assert.rejects(ask(`${url}/metrics`, agent), /ECONNRESET|hang up/)
  await isAsked
  await server.stop()
  await answered
})

test('/readyz says in time that the database does not answer', async () => {
  const { server, url } = await startSlow(() => new Promise(() => {}))
  const begun = performance.now()
  const [first, second] = await Promise.all([fetch(`${url}/readyz`), fetch(`${url}/readyz`)])
  assert.deepEqual([first.status, second.status, ((await first.json()) as { error: string }).error], [503, 503, 'no answer within 2.5 s'])
  assert.ok(performance.now() - begun < 4000, 'sooner than a health check gives up')
  await server.stop()
})
