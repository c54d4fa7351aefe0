import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { acceptMessage } from '../store/accept.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'
import { newMessage } from './support/messages.ts'
import { until } from './support/until.ts'

/** Every line as Prometheus' text form has it, or it throws; values by name and labels. */
function parse(text: string): Map<string, number> {
  const values = new Map<string, number>()
  for (const line of text.trimEnd().split('\n')) {
    if (/^# (HELP|TYPE) [a-z0-9_]+ /.test(line) || line === '') continue
    const [, name, value] = /^([a-zA-Z0-9_]+(?:\{[a-zA-Z_]+="[^"]*"(?:,[a-zA-Z_]+="[^"]*")*\})?) (N[aA][nN]|[-+.e\d]+)$/.exec(line) ?? assert.fail(line)
    values.set(name!, Number(value))
  }
  return values
}

test('/metrics tells Prometheus what was accepted, refused and tried, and how the queue stands; for a token with its scope', async () => {
  const peer = await startPeer({ rcpt: { 'gone@partner.test': '550 5.1.1 no', 'later@partner.test': '451 4.7.1 not now' } })
  const everpost = await prepareEverpost({
    retry: { minimalBackoffTime: '1h' }, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
    localDomains: { 'example.test': { deliver: 'maildir', path: './mail/{localpart}', recipients: ['bob'] } },
    webhooks: [{ name: 'away', url: 'http://127.0.0.1:1/', secret: 'a secret of the receiver' }],
  })
  const url = () => `http://127.0.0.1:${everpost.ports['http']}/metrics`
  const scrape = (token: string) => fetch(url(), { headers: token ? { authorization: `Bearer ${token}` } : {} })
  try {
    await everpost.start()
    const [good, other] = [await everpost.command('token', 'create', 'scraper', '--scope', 'metrics'), await everpost.command('token', 'create', 'sender', '--scope', 'submit')]
    assert.deepEqual([(await scrape('')).status, (await scrape(other.stdout.trim())).status], [401, 403])

    const submitted = await fetch(url().replace('/metrics', '/v1/messages'), {
      method: 'POST', headers: { authorization: `Bearer ${other.stdout.trim()}`, 'content-type': 'application/json' },
      body: JSON.stringify({ from: 'bob@example.test', to: ['ok@partner.test'], subject: 'by HTTP', text: 'hello', sendAt: new Date(Date.now() + 3_600_000) }),
    })
    assert.equal(submitted.status, 201)
    const id = await everpost.send(['ok@partner.test', 'gone@partner.test', 'later@partner.test'], 'bob@example.test')
    await until('all were tried', async () => (await readRecipients(everpost.sql, id, 9)).every(({ state, outcome }) => outcome && state !== 'bouncing'))
    await assert.rejects(everpost.send('nobody@example.test'), /5\.1\.1/)
    const [report] = await until('the report is delivered', async () => {
      const rows = await everpost.sql<{ state: string }[]>`select state from messages where parent = ${id}`
      return rows[0]?.state === 'finished' && rows
    })
    assert.equal(report!.state, 'finished')
    await everpost.command('destination', 'suspend', 'slow.test')

    const answer = await scrape(good.stdout.trim())
    assert.match(answer.headers.get('content-type')!, /^text\/plain; version=0\.0\.4/)
    const values = parse(await answer.text())
    const wanted: Record<string, number> = {
      'everpost_ingress_total{event="messages.accepted"}': 2, 'everpost_ingress_total{event="recipients.refused"}': 1,
      'everpost_recipients_total{status="delivered"}': 2, 'everpost_recipients_total{status="bounced"}': 1, 'everpost_recipients_total{status="deferred"}': 1,
      everpost_attempt_seconds_count: 2, everpost_queue_messages: 2, everpost_queue_held_messages: 0, everpost_outbox_messages: 0, everpost_destinations_suspended: 1,
      everpost_recipients_bounced_last_hour: 1, everpost_recipients_expired_last_hour: 0, 'everpost_webhook_dead{webhook="away"}': 0,
    }
    for (const [name, value] of Object.entries(wanted)) assert.equal(values.get(name), value, name)
    assert.ok(values.get('everpost_queue_oldest_seconds')! > 0 && values.get('everpost_webhook_waiting{webhook="away"}')! > 3 && values.get('process_cpu_seconds_total')! > 0)
    assert.ok([...values.keys()].every((name) => !/test|@/.test(name)), 'no label of an address or a destination')

    await everpost.sql`update messages set held_at = now()`
    assert.equal(parse(await (await scrape(good.stdout.trim())).text()).get('everpost_queue_held_messages'), 0, 'read every ten seconds, not at each scrape')
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('the settings may open /metrics, and nothing else; what is on hold does not make the queue old', async () => {
  const everpost = await prepareEverpost({ http: { address: '127.0.0.1', port: 0, metrics: 'open' } })
  try {
    assert.equal((await everpost.command('migrate')).code, 0)
    const held = newMessage(['x@dead.test'])
    await acceptMessage(everpost.sql, held)
    await everpost.sql`update messages set held_at = now(), drive_at = null, accepted_at = now() - interval '9 days'`
    await everpost.start('ingress')
    const at = (path: string) => fetch(`http://127.0.0.1:${everpost.ports['http']}${path}`)
    const values = parse(await (await at('/metrics')).text())
    const figures = ['messages', 'held_messages', 'oldest_seconds'].map((name) => values.get(`everpost_queue_${name}`))
    assert.deepEqual(figures, [1, 1, 0], 'what is on hold is no old mail')
    assert.equal((await at('/v1/messages')).status, 401)
  } finally {
    await everpost.end()
  }
})

test('a table that is locked keeps neither what this process has counted from Prometheus, nor /readyz and the API from answering', async () => {
  const everpost = await prepareEverpost({ http: { address: '127.0.0.1', port: 0, metrics: 'open' } })
  try {
    await everpost.start('ingress')
    const token = (await everpost.command('token', 'create', 'me', '--scope', 'events')).stdout.trim()
    const at = (path: string) => fetch(`http://127.0.0.1:${everpost.ports['http']}${path}`, { headers: { authorization: `Bearer ${token}` }, signal: AbortSignal.timeout(8000) })
    await everpost.sql.begin(async (tx) => {
      await tx`lock table recipients in access exclusive mode`
      for (let i = 0; i < 6; i++) {
        const text = await (await at('/metrics')).text()
        assert.ok(parse(text).get('process_cpu_seconds_total')! > 0)
        assert.ok(!text.includes('\neverpost_queue_messages'), 'left out')
      }
      assert.equal((await at('/readyz')).status, 200)
      assert.equal((await at('/v1/events?once=true')).status, 200)
    })
    await until('it is told again', async () => parse(await (await at('/metrics')).text()).get('everpost_queue_messages') === 0)
  } finally {
    await everpost.end()
  }
})
