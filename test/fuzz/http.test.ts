import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { pino } from 'pino'
import { consoleApi } from '../../cli/api.ts'
import { startConsole } from '../../console/server.ts'
import { createCounters } from '../../ingress/counters.ts'
import { noAliases } from '../../ingress/testing.ts'
import { settingsSchema } from '../../settings/schema.ts'
import { createToken, type TokenScope } from '../../store/tokens.ts'
import { testDatabase } from '../support/database.ts'
import { fuzz, octets, text } from './budget.ts'

const { sql, drop } = await testDatabase()
const log: string[] = []
const settings = settingsSchema.parse({ temporal: { address: '127.0.0.1:1' } })
const outbox = { full: () => false, accepted: () => {}, stop: async () => {} }
const logger = pino({ level: 'error' }, { write: (line: string) => void log.push(line) })
const server = await startConsole({
  sql, watched: sql, address: '127.0.0.1', port: 0, parts: () => ({}), metrics: { text: async () => '', open: false },
  api: consoleApi({ sql, settings, aliases: noAliases, log: logger, outbox, counters: createCounters(), startMessage: async () => {} }),
})

/** What comes back for these octets, until the server closes; when they are no `whole` request it waits for more, and we do not. */
function talk(octets: Buffer, whole: boolean): Promise<string> {
  return new Promise((resolve) => {
    let heard = ''
    const socket = connect(server.port, '127.0.0.1', () => socket.write(octets)).setEncoding('latin1')
    socket.on('error', () => {}).on('data', (chunk: string) => { heard += chunk }).on('close', () => resolve(heard))
    socket.setTimeout(whole ? 30_000 : 500, () => socket.destroy())
  })
}

const path = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(
    '/v1/messages', '/v1/messages/raw', '/v1/messages/01AAAAAAAAAAAAAAAA', '/v1/messages/01AAAAAAAAAAAAAAAA/content', '/v1/trace',
    '/v1/destinations', '/v1/replays', '/v1/openapi.json', '/healthz', '/v1/queue', '/v1/nothing',
  ) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom('/v1/messages/', '/v1/destinations/', '/v1/'), text(20).map(encodeURIComponentOf)).map((parts) => parts.join('')) },
  { weight: 1, arbitrary: octets(30).map((bytes) => `/${bytes.toString('latin1').replace(/[\r\n ]/g, '')}`) },
)
const parameter = fc.constantFrom('limit', 'from', 'to', 'state', 'sender', 'recipient', 'after', 'sendAt', 'before', 'older', 'user', 'client', 'address', 'since', 'until', 'x')
const query = fc.array(fc.tuple(parameter, text(16).map(encodeURIComponentOf)), { maxLength: 4 })
  .map((pairs) => pairs.map((pair) => pair.join('=')).join('&'))
const address = fc.oneof(fc.constantFrom('a@b.test', '', '<>', 'a@[127.0.0.1]'), text(30))
const submission = fc.record({
  from: address, to: fc.array(address, { maxLength: 3 }), subject: text(40), text: text(60), html: text(20), headers: fc.dictionary(text(12), text(30), { maxKeys: 3 }), sendAt: text(25),
  attachments: fc.array(fc.record({ filename: text(12), contentType: text(20), content: text(20) }, { requiredKeys: [] }), { maxLength: 2 }),
}, { requiredKeys: ['from', 'to'] })
const body = fc.oneof(
  submission.map((value) => JSON.stringify(value)), fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.stringify(value)), text(80), octets(80).map((bytes) => bytes.toString('latin1')),
)
const header = fc.oneof(
  fc.tuple(fc.constantFrom('Idempotency-Key', 'X-Forwarded-For', 'Accept', 'Last-Event-ID', 'Cookie', 'If-Match'), text(30)).map(([name, value]) => `${name}: ${value.replace(/[\r\n]/g, '')}`),
  fc.constantFrom('Transfer-Encoding: chunked', 'Content-Length: 5', 'Content-Length: -1', 'Expect: 100-continue', 'Upgrade: websocket', 'Host: a, b', ': x', 'Connection: upgrade'),
  octets(30).map((bytes) => bytes.toString('latin1')),
)

function encodeURIComponentOf(value: string): string {
  return encodeURIComponent(value.toWellFormed())
}

function isPage(path: string): boolean {
  return URL.canParse(path, 'http://x') && new URL(path, 'http://x').pathname === '/'
}

test('HTTP: any octets, and any request of a holder of a token, get an answer that is no fault of ours; without a token nothing is told or done', async () => {
  const scopes: TokenScope[] = ['submit', 'read', 'content', 'events', 'control']
  const token = await createToken(sql, 'fuzz', scopes, null)
  const request = fc.record({
    method: fc.constantFrom('GET', 'GET', 'GET', 'POST', 'POST', 'POST', 'POST', 'PUT', 'DELETE', 'HEAD'), path, query, body,
    headers: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: fc.array(header, { minLength: 1, maxLength: 2 }) }),
    type: fc.constantFrom('application/json', 'application/json', 'message/rfc822', 'text/plain', 'application/json; charset=utf-16'), known: fc.boolean(),
    raw: fc.oneof({ weight: 9, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: octets(200) }),
  })
  const accepted = async () => (await sql<{ count: number }[]>`select count(*) from messages`)[0]!.count
  let before = 0
  try {
    const plain = Buffer.from(`GET /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ${token}\r\n\r\n`)
    assert.match(await talk(plain, true), /^HTTP\/1\.1 200 /, 'the token opens the door')
    await fuzz(fc.asyncProperty(fc.array(request, { minLength: 30, maxLength: 30 }), fc.boolean(), async (requests, all) => {
      const answers = await Promise.all(requests.map(async ({ method, path, query, body, headers, type, known, raw }) => {
        const octets = Buffer.from(body)
        const whole = raw === null && headers.length === 0
        const head = [
          `${method} ${path}${query ? `?${query}` : ''} HTTP/1.1`, 'Host: x', 'Connection: close', `Content-Type: ${type}`, `Content-Length: ${octets.length}`,
          `Authorization: Bearer ${all && known ? token : 'evp_nothing'}`, ...headers, '', '',
        ].join('\r\n')
        return { known: all && known && !raw, answer: await talk(raw ?? Buffer.concat([Buffer.from(head, 'latin1'), octets]), whole), whole, asked: raw?.toString('latin1') ?? head + body, path }
      }))
      for (const { known, answer, asked, path, whole } of answers) {
        if (answer === '' && !whole) continue
        const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1])
        assert.ok(status >= 100 && status < 500, `${status} for ${JSON.stringify(asked)}\n${answer}\n${log.at(-1)}`)
        // The page without a token is a form to log in; a path such as `/.` is the page, too.
        if (!known && path !== '/healthz' && !isPage(path)) assert.ok(status === 100 || status >= 400, `${status} for ${JSON.stringify(asked)}`)
      }
      assert.match(await talk(Buffer.from('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'), true), /^HTTP\/1\.1 200 /)
      const now = await accepted()
      if (!all) assert.equal(now, before)
      before = now
    }))
  } finally {
    await server.stop()
    await drop()
  }
})
