import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { stringify } from 'yaml'
import { expandArguments, expandPath } from '../../activities/local-address.ts'
import { canonicalDomain, domainOf, splitAddress, unquotedLocalPart } from '../../mail/address.ts'
import { composeReport } from '../../mail/dsn.ts'
import { textsFor } from '../../mail/report-texts.ts'
import { makeReply } from '../../mail/reply.ts'
import { nextHopKey, nextHopOf, parseNextHop } from '../../mail/route.ts'
import { receivedField } from '../../mail/trace.ts'
import { loadSettings, SettingsError } from '../../settings/load.ts'
import { settingsSchema } from '../../settings/schema.ts'
import { fuzz, octets, text } from './budget.ts'

test('addresses: any text is split without loss, its domain is canonical for good, and no part of it leaves its place in a path or an argument', async () => {
  await fuzz(fc.property(text(), text(20), (address, sender) => {
    const { localPart, domain } = splitAddress(address)
    assert.equal(address.includes('@') ? `${localPart}@${domain}` : localPart, address)
    // What has a blank in it is no domain, and the URL parser trims it.
    if (!/\s/.test(domain)) assert.equal(canonicalDomain(canonicalDomain(domain)), canonicalDomain(domain))
    const values = { localpart: unquotedLocalPart(localPart), domain: domainOf(address), sender }
    const path = expandPath('/mail/{domain}/{localpart}', values)
    assert.match(path, /^\/mail\/[^/.\s][^/\s]*\/[^/.\s][^/\s]*$/)
    const args = expandArguments(['-f', '{sender}', '{localpart}'], values)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there
    if (args) assert.ok(args.length === 3 && args.slice(1).every((argument) => !argument.startsWith('-') && !/[\x00-\x1f\x7f]/.test(argument)))
  }))
})

test('next hops: any text is one or a RangeError that says why', async () => {
  await fuzz(fc.property(text(60), (hop) => {
    try {
      const parsed = parseNextHop(hop)
      assert.ok(parsed.kind === 'socket' ? parsed.port === 0 : parsed.port >= 1 && parsed.port <= 65535)
      assert.notEqual(parsed.name, '')
      assert.deepEqual(parseNextHop(nextHopKey(parsed)), parsed)
    } catch (error) {
      assert.ok(error instanceof RangeError)
    }
    assert.equal(typeof nextHopKey(nextHopOf(hop, [])), 'string')
  }))
})

test('Received: whatever a client says of itself stays in its field', async () => {
  await fuzz(fc.property(text(), text(), text(), fc.array(text(), { maxLength: 2 }), (helo, clientName, clientAddress, recipients) => {
    const origin = { protocol: 'ESMTPS' as const, helo, clientAddress, clientName, tls: { version: helo, cipher: clientName, verified: false }, user: helo }
    const field = receivedField({ id: 'ID', origin, recipients, acceptedAt: new Date(0) }, 'mx.example.test')
    assert.match(field, /^Received: [^\r\n]*(\r\n\t[^\r\n]+)*\r\n$/)
    assert.ok(field.split('\r\n').every((line) => line.length <= 998))
  }))
})

test('reports: whatever a peer, a client or an address says, the report is 7-bit, in short lines, and has the parts and groups it should have', async () => {
  const recipient = fc.record({
    forwardPath: text(), orcpt: fc.option(text()), action: fc.constantFrom('failed', 'delayed'), status: fc.constant('5.1.1'), remoteHost: fc.option(text()),
    reply: fc.option(fc.tuple(fc.integer({ min: 400, max: 599 }), fc.array(text(), { minLength: 1, maxLength: 4 })).map(([code, lines]) => makeReply(code, lines))),
    text: text(), expired: fc.boolean(), lastAttemptAt: fc.constant(new Date(0)), willRetryUntil: fc.constant(null),
  })
  const lines = fc.array(octets(60), { maxLength: 6 }).map((lines) => Buffer.from(lines.map((line) => `${line.toString('latin1').replace(/[\0\r\n]/g, 'x')}\r\n`).join(''), 'latin1'))
  // BINARYMIME lets everything in.
  const original = fc.oneof(lines, octets(60), fc.array(fc.constantFrom('\0', '\r', '\n', '\r\n', '.', 'X: y'), { maxLength: 20 }).map((pieces) => Buffer.from(pieces.join(''))))
  await fuzz(fc.property(fc.array(recipient, { minLength: 1, maxLength: 4 }), text(), fc.option(text()) as fc.Arbitrary<string | null>, original, (recipients, to, envid, original) => {
    const at = new Date(0)
    const { head, tail } = composeReport({
      event: 'failed', toPostmaster: false, triedUntil: at, full: null, smtpUtf8: false, texts: textsFor('en', {}),
      id: 'ID', dsnId: 'DSN', hostname: 'mx.example.test', to, envid, arrivedAt: at, at, receivedFrom: to, recipients: recipients as never, original,
    })
    const body = Buffer.concat([head, tail]).toString('latin1')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII but NUL
    assert.doesNotMatch(body, /[^\x00-\x7f]|\r(?!\n)|(?<!\r)\n|\0/)
    assert.ok(body.split('\r\n').every((line) => line.length <= 998))
    const [, , status] = body.split('--DSN\r\n')
    assert.equal(body.split('--DSN').length, 5)
    const groups = status!.slice(status!.indexOf('\r\n\r\n') + 4).trim().split('\r\n\r\n')
    assert.equal(groups.length, 1 + recipients.length)
    assert.ok(groups.slice(1).every((group) => group.match(/^Status: 5\.1\.1$/gm)?.length === 1 && group.match(/^Action: /gm)?.length === 1))
  }))
})

test('settings: any file is settings, or a SettingsError that names what is wrong', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-fuzz-'))
  const path = join(folder, 'everpost.yaml')
  const keys = Object.keys(settingsSchema.shape)
  const value = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom('5m', '10MiB', '127.0.0.1', 0, -1, [], {}, null, '__proto__'))
  const file = fc.oneof(
    fc.dictionary(fc.constantFrom(...keys), value, { maxKeys: 4 }).map((settings) => stringify(settings)),
    fc.tuple(fc.constantFrom(...keys), text(60)).map(([key, rest]) => `${key}: ${rest}`), text(),
  )
  try {
    await fuzz(fc.property(file, (yaml) => {
      writeFileSync(path, yaml)
      try {
        assert.equal(typeof loadSettings({ file: path, environment: {} }).settings.hostname, 'string')
      } catch (error) {
        assert.ok(error instanceof SettingsError, String((error as Error).stack))
        assert.ok(error.message.length > 0)
      }
    }))
  } finally {
    rmSync(folder, { recursive: true })
  }
})
