import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Connection } from '@temporalio/client'
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker'
import { freePort } from '../dev/ports.ts'
import { settingsSchema, type SettingsFile } from '../settings/schema.ts'
import { makeTestCa } from '../smtp/testing-ca.ts'
import { startGate } from '../test/support/temporal-gate.ts'
import { connectionOptions } from './connection.ts'
import { whyUnreachable } from './unreachable.ts'

Runtime.install({ logger: new DefaultLogger('ERROR', () => {}) })
const folder = mkdtempSync(join(tmpdir(), 'everpost-way-'))
const temporal = process.env['EVERPOST_TEST_TEMPORAL']!
const [ca, otherCa] = [await makeTestCa(), await makeTestCa()]
const [pair, client, stranger] = [await ca.issue('temporal.test'), await ca.issue('everpost.test'), await otherCa.issue('everpost.test')]
const gate = await startGate({ temporal, pair })
const mutual = await startGate({ temporal, pair, clientCa: ca.cert })
const keyed = await startGate({ temporal, pair, key: 'right' })
const silent = createServer().listen(0, '127.0.0.1')
after(async () => {
  for (const each of [gate, mutual, keyed]) await each.close()
  silent.close()
  rmSync(folder, { recursive: true })
})

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const tls = { ca: file('ca.pem', ca.cert), servername: 'temporal.test' }
const mine = { cert: file('client.pem', client.cert), key: file('client.key', client.key) }
const foreign = { cert: file('foreign.pem', stranger.cert), key: file('foreign.key', stranger.key) }

/** What each of the two SDKs is told: the client's and the worker's. Of a connection that fails the client's learns nothing, so it need not wait long. */
async function told(settings: SettingsFile['temporal'], connectTimeout: number): Promise<string[]> {
  const all = settingsSchema.parse({ temporal: settings })
  const tries = [() => Connection.connect({ ...connectionOptions(all), connectTimeout }), () => NativeConnection.connect(connectionOptions(all))]
  return await Promise.all(tries.map(async (connect) => {
    try {
      await (await connect()).close()
      return 'connected'
    } catch (error) {
      const { what, todo } = await whyUnreachable(all, error)
      return `${what} | ${todo}`
    }
  }))
}

const cases: [name: string, settings: SettingsFile['temporal'], told: RegExp][] = [
  ['TLS', { address: gate.address, tls }, /^connected$/],
  ['TLS with a client certificate', { address: mutual.address, tls: { ...tls, ...mine } }, /^connected$/],
  ['TLS with an API key', { address: keyed.address, tls, apiKey: 'right' }, /^connected$/],
  ['an API key in a file', { address: keyed.address, tls, apiKeyFile: file('key', 'right\n') }, /^connected$/],
  ['no client certificate', { address: mutual.address, tls }, /asks for a client certificate, and we have none.* \| Set temporal\.tls\.cert/],
  ['a client certificate of another CA', { address: mutual.address, tls: { ...tls, ...foreign } }, /does not take our client certificate.* \| Give temporal\.tls\.cert and key that are of a CA/],
  ['a server of another CA', { address: gate.address, tls: { ...tls, ca: file('other.pem', otherCa.cert) } },
    /is of a CA that is not trusted here \(CERT_SIGNATURE_FAILURE\) \| Name .* in temporal\.tls\.ca/],
  ['a server of a CA that is none of the usual ones', { address: gate.address, tls: { servername: 'temporal.test' } }, /is of a CA that is not trusted here .* \| Name .* in temporal\.tls\.ca/],
  ['a server of another name', { address: gate.address, tls: { ca: tls.ca } }, /is for another name: .*127\.0\.0\.1.* \| Set temporal\.tls\.servername/],
  ['a server without TLS', { address: temporal, tls }, /speaks no TLS \| Take temporal\.tls out/],
  ['a server without TLS, for an API key', { address: temporal, apiKey: 'right' }, /speaks no TLS \| .*set it to false where there is an API key/],
  ['no TLS for a server that asks for it', { address: gate.address }, /hangs up on us, who speak no TLS \| It may ask for TLS: set temporal\.tls/],
  ['a wrong API key', { address: keyed.address, tls, apiKey: 'wrong' }, /refuses our API key \(UNAUTHENTICATED\) \| Set TEMPORAL_API_KEY, or temporal\.apiKeyFile, to a key/],
  ['no API key', { address: keyed.address, tls }, /refuses us: no API key is set \(UNAUTHENTICATED\) \| Set TEMPORAL_API_KEY/],
  ['nobody there', { address: `127.0.0.1:${await freePort()}`, tls }, /does not answer at .*ECONNREFUSED.* \| Start it/],
  ['a file that is missing', { address: gate.address, tls: { ...tls, ca: join(folder, 'none.pem') } }, /none\.pem cannot be read \(ENOENT\)\. Check temporal\.tls\.ca/],
  ['a CA file without a certificate', { address: gate.address, tls: { ...tls, ca: file('junk.pem', 'junk') } }, /junk\.pem holds no certificate in PEM form/],
  ['a key that does not match', { address: mutual.address, tls: { ...tls, cert: mine.cert, key: foreign.key } }, /client\.pem and .*foreign\.key are no certificate and its key .*mismatch/],
  ['a file of two lines for the API key', { address: keyed.address, tls, apiKeyFile: file('two', 'a\nb\n') }, /two must hold one line, the API key/],
]

for (const [name, settings, pattern] of cases) {
  test(`the way to Temporal: ${name}`, async () => {
    for (const text of await told(settings, pattern.test('connected') ? 20_000 : 300)) {
      assert.match(text, pattern)
      assert.doesNotMatch(text, /right|wrong\b/)
    }
  })
}

test('the way to Temporal: one who says nothing', async () => {
  const { port } = silent.address() as { port: number }
  const settings = settingsSchema.parse({ temporal: { address: `127.0.0.1:${port}` } })
  assert.match((await whyUnreachable(settings, new Error('x'))).what, /says nothing in 2 s/)
})
