import assert from 'node:assert/strict'
import { after, mock, test } from 'node:test'
import { openDatabase } from '../store/database.ts'
import { subscribeWebhooks } from '../store/webhooks.ts'
import { testDatabase } from '../test/support/database.ts'
import { createMetrics } from './metrics.ts'

const { sql, drop } = await testDatabase()
after(drop)

async function told(metrics: ReturnType<typeof createMetrics>): Promise<Record<string, number>> {
  const lines = (await metrics.text()).split('\n').filter((line) => line.startsWith('everpost_'))
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]))
}

test('what was counted is told as it stands at each scrape, from the start, with the recipients that were settled in one with others', async () => {
  let accepted = 3
  const metrics = createMetrics(sql, () => ({ 'messages.accepted': accepted }))
  const first = await told(metrics)
  assert.deepEqual(['delivered', 'deferred', 'bounced'].map((status) => first[`everpost_recipients_total{status="${status}"}`]), [0, 0, 0])
  accepted = 4
  const tried = { host: 'x', address: null, port: 25, at: '', tls: null, phase: 'dot', dotSent: true, problem: null } as const
  metrics.attempted([{ tries: [{ ...tried, took: 200 }, { ...tried, took: 300 }], outcomes: [{ status: 'delivered' }, { status: 'bounced' }], others: [{ status: 'delivered', count: 5 }] }])
  for (let i = 0; i < 2; i++) {
    const values = await told(metrics)
    assert.deepEqual([values['everpost_ingress_total{event="messages.accepted"}'], values['everpost_attempt_seconds_sum'], values['everpost_attempt_seconds_count']], [4, 0.5, 1])
    assert.deepEqual(['delivered', 'deferred', 'bounced'].map((status) => values[`everpost_recipients_total{status="${status}"}`]), [6, 0, 1])
  }
})

test('however many scrape at once, the database is asked once', async () => {
  let asked = 0
  const counting = new Proxy(sql, { get: (target, key) => {
    if (key === 'begin') asked++
    return Reflect.get(target, key)
  } })
  const metrics = createMetrics(counting, () => ({}))
  const all = await Promise.all([told(metrics), told(metrics), told(metrics)])
  assert.deepEqual([asked, all.map((values) => values['everpost_queue_messages'])], [1, [0, 0, 0]])
})

test('what is not known, or is no more, is left out', async () => {
  const away = openDatabase('postgres://x:x@127.0.0.1:1/x', 1)
  const names = Object.keys(await told(createMetrics(away, () => ({}))))
  await away.end({ timeout: 0 })
  assert.ok(names.includes('everpost_recipients_total{status="bounced"}') && !names.includes('everpost_queue_messages'), names.join())

  const metrics = createMetrics(sql, () => ({}))
  await subscribeWebhooks(sql, [{ name: 'w' }])
  assert.equal((await told(metrics))['everpost_webhook_waiting{webhook="w"}'], 0)
  await subscribeWebhooks(sql, [])
  const later = performance.now() + 11_000
  const clock = mock.method(performance, 'now', () => later)
  const values = await told(metrics)
  clock.mock.restore()
  assert.deepEqual([values['everpost_queue_messages'], values['everpost_webhook_waiting{webhook="w"}']], [0, undefined])
})
