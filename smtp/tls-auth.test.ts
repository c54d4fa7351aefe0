// TLS by policy and AUTH to a relay host, over real TLS, from settings as an operator writes them.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createDns } from './dns.ts'
import { loadHopOptions, type RouteOptions } from './hop-options.ts'
import { createPool } from './pool.ts'
import { recipientsOf, type Script, startPeer, testRequest } from './testing.ts'
import { makeTestCa } from './testing-ca.ts'
import { startDnsServer } from './testing-dns.ts'
import { plainTls } from './tls.ts'
import { transfer, type TransferRequest } from './transfer.ts'

const folder = mkdtempSync(join(tmpdir(), 'everpost-tls-'))
const ca = await makeTestCa()
const relay = await ca.issue('relay.test')
const client = await ca.issue('mx.example.test')
const zone = await startDnsServer({ 'relay.test/A': ['127.0.0.1'], 'other.test/A': ['127.0.0.1'] })
const dns = createDns({ servers: [zone.server], timeout: 500 })
const pool = createPool({ idle: 0, age: 0, messages: 1, connections: 1 })
after(async () => {
  rmSync(folder, { recursive: true })
  await zone.close()
})

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const caFile = file('ca.pem', ca.cert)
type Tls = NonNullable<RouteOptions['tls']>
const tlsOf = (change: Partial<Tls>): Tls => ({ level: 'verify', implicit: false, minVersion: 'TLSv1.2', ca: caFile, ...change })

interface Case {
  script?: Script
  tls?: Tls | undefined
  auth?: RouteOptions['auth']
  change?: Partial<TransferRequest>
  environment?: NodeJS.ProcessEnv
}

async function run({ script = {}, tls, auth, change = {}, environment = {} }: Case) {
  const peer = await startPeer({ extensions: ['STARTTLS'], tls: relay, ...script })
  const nextHop = '[relay.test]'
  try {
    const options = loadHopOptions([{ domain: 'a', nextHop, tls, auth }], {}, environment)(nextHop)
    const request = testRequest(peer.port, { recipients: recipientsOf('a@x.test'), hosts: ['relay.test'], tls: async () => options.tls, auth: options.auth, ...change })
    const result = await transfer(request, { dns, pool })
    const [outcome] = Object.values(result.outcomes)
    return { brief: `${outcome!.status} ${outcome!.phase} ${outcome!.enhanced}`, text: outcome!.text, result, peer, tls: outcome!.tls }
  } finally {
    await peer.close()
  }
}

test('may: any certificate, and the result is recorded; none: in the clear though offered', async () => {
  const may = await run({ tls: tlsOf({ level: 'may' }) })
  assert.deepEqual([may.brief, may.tls?.verified, may.result.tries[0]!.tls?.version], ['delivered dot 2.0.0', true, 'TLSv1.3'])
  const unknown = await run({ tls: undefined, change: { tls: async () => plainTls('may') } })
  assert.deepEqual([unknown.brief, unknown.tls?.verified], ['delivered dot 2.0.0', false])
  const none = await run({ tls: tlsOf({ level: 'none' }) })
  assert.deepEqual([none.brief, none.tls], ['delivered dot 2.0.0', null])
})

test('may: TLS that fails goes on in the clear, also where the host says so only after the handshake; a refused EHLO is no such failure', async () => {
  // It asks for a certificate that we do not have: with TLS 1.3 its alert comes when we think the handshake done.
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const strict: Script = { tls: { ...relay, ca: ca.cert, rejectUnauthorized: true, maxVersion } }
    const may = await run({ tls: tlsOf({ level: 'may' }), script: strict })
    assert.deepEqual([may.brief, may.tls, may.result.tries.map(({ phase }) => phase)], ['delivered dot 2.0.0', null, ['tls', 'dot']], maxVersion)
    const encrypt = await run({ tls: tlsOf({ level: 'encrypt' }), script: strict })
    assert.deepEqual([encrypt.brief, encrypt.peer.connections], ['deferred tls 4.7.5', 1], maxVersion)
    // A secret that needs TLS keeps its message from the clear, and the reason is the handshake.
    const secret = await run({ tls: tlsOf({ level: 'may' }), auth: auth(), script: strict })
    assert.deepEqual([secret.brief, secret.peer.connections], ['deferred tls 4.7.5', 1], maxVersion)
  }
  const refused = await run({ tls: tlsOf({ level: 'may' }), script: { secureEhlo: '451 4.3.0 not now' } })
  assert.deepEqual([refused.brief, refused.peer.connections], ['deferred ehlo 4.3.0', 1])
})

test('encrypt: never in the clear, with any certificate', async () => {
  const encrypt = await run({ tls: { ...tlsOf({ level: 'encrypt' }), ca: undefined } })
  assert.deepEqual([encrypt.brief, encrypt.tls?.verified], ['delivered dot 2.0.0', false])
  const clear = await run({ tls: tlsOf({ level: 'encrypt' }), script: { starttls: '502 5.5.1 no' } })
  assert.deepEqual([clear.brief, clear.peer.messages], ['deferred tls 4.0.0', []])
  const broken = await run({ tls: tlsOf({ level: 'encrypt' }), script: { starttls: '220 go\r\nnonsense' } })
  assert.deepEqual([broken.brief, broken.peer.messages, broken.result.tries.length], ['deferred tls 4.7.5', [], 1])
})

test('verify: own CA, name of the host or servername; else nothing is sent, and the text says why', async () => {
  const good = await run({ tls: tlsOf({}) })
  assert.deepEqual([good.brief, good.tls?.verified, good.peer.servername], ['delivered dot 2.0.0', true, 'relay.test'])
  const untrusted = await run({ tls: { ...tlsOf({}), ca: undefined } })
  assert.deepEqual([untrusted.brief, untrusted.peer.messages], ['deferred tls 4.7.5', []])
  assert.match(untrusted.text, /certificate is not accepted for relay\.test \(UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED/)
  const other = await run({ tls: tlsOf({}), change: { hosts: ['other.test'] } })
  assert.deepEqual([other.brief, other.peer.messages], ['deferred tls 4.7.5', []])
  assert.match(other.text, /not accepted for other\.test \(ERR_TLS_CERT_ALTNAME_INVALID\)/)
  const named = await run({ tls: tlsOf({ servername: 'relay.test' }), change: { hosts: ['other.test'] } })
  assert.deepEqual([named.brief, named.peer.servername], ['delivered dot 2.0.0', 'relay.test'])
})

test('a client certificate is shown; an older version than asked for is refused', async () => {
  const pair = { cert: file('client.pem', client.cert), key: file('client.key', client.key) }
  const shown = await run({ tls: tlsOf(pair), script: { tls: { ...relay, ca: ca.cert } } })
  assert.deepEqual([shown.brief, shown.peer.clientName], ['delivered dot 2.0.0', 'mx.example.test'])
  const alone = await run({ tls: tlsOf({ ...pair, level: 'encrypt', ca: undefined }), script: { tls: { ...relay, ca: ca.cert } } })
  assert.deepEqual([alone.brief, alone.peer.clientName], ['delivered dot 2.0.0', 'mx.example.test'])
  const old = await run({ tls: tlsOf({ minVersion: 'TLSv1.3' }), script: { tls: { ...relay, maxVersion: 'TLSv1.2' } } as Script })
  assert.deepEqual([old.brief, old.peer.messages], ['deferred tls 4.7.5', []])
})

test('implicit TLS: from the first octet (RFC 8314)', async () => {
  const implicit = await run({ tls: tlsOf({ implicit: true }), script: { tls: { ...relay, implicit: true } } })
  assert.deepEqual([implicit.brief, implicit.tls?.verified, implicit.peer.commands.includes('STARTTLS')], ['delivered dot 2.0.0', true, false])
  const clear = await run({ tls: tlsOf({ implicit: true }), script: { greeting: '220 in the clear' } })
  assert.deepEqual([clear.brief, clear.peer.messages], ['deferred tls 4.7.5', []])
})

test('REQUIRETLS (RFC 8689): a verified certificate and the extension after STARTTLS, passed on; else 5.7.30', async () => {
  const envelope = { ...testRequest(0).envelope, requireTls: true }
  const good = await run({ tls: tlsOf({}), script: { secureExtensions: ['REQUIRETLS'] }, change: { envelope } })
  assert.equal(good.brief, 'delivered dot 2.0.0')
  assert.ok(good.peer.commands.includes('MAIL FROM:<s@a.test> REQUIRETLS'))
  const not = await run({ tls: tlsOf({}), change: { envelope } })
  assert.deepEqual([not.brief, not.peer.messages], ['bounced mail 5.7.30', []])
  const untrusted = await run({ tls: { ...tlsOf({}), ca: undefined }, script: { secureExtensions: ['REQUIRETLS'] }, change: { envelope } })
  assert.deepEqual([untrusted.brief, untrusted.peer.messages], ['bounced tls 5.7.30', []])
  // By LMTP, whose way the operator chose, it is a failure like any other.
  const lmtp = await run({ tls: { ...tlsOf({}), ca: undefined }, change: { envelope, protocol: 'lmtp' } })
  assert.deepEqual([lmtp.brief, lmtp.peer.messages], ['deferred tls 4.7.5', []])
  // RFC 3207 section 4: 454 says that TLS is not to be had now.
  const later = await run({ tls: tlsOf({}), script: { starttls: '454 4.7.0 TLS not available due to a temporary reason' }, change: { envelope } })
  assert.deepEqual([later.brief, later.peer.messages], ['deferred tls 4.7.0', []])
})

const secret = 'hunter2-très-secret'
const auth = (change: Partial<NonNullable<RouteOptions['auth']>> = {}) => ({ user: 'u@relay.test', passwordFile: file('password', `${secret}\n`), clearText: false, ...change })
const base64 = (text: string) => Buffer.from(text).toString('base64')

test('AUTH PLAIN and LOGIN, as the host offers, after STARTTLS only', async () => {
  const plain = await run({ tls: tlsOf({}), auth: auth(), script: { secureExtensions: ['AUTH LOGIN PLAIN'] } })
  assert.deepEqual([plain.brief, plain.peer.commands[3]], ['delivered dot 2.0.0', `AUTH PLAIN ${base64(`\0u@relay.test\0${secret}`)}`])
  const blanks = await run({ tls: tlsOf({}), auth: auth({ passwordFile: file('blanks', ' p \r\n') }), script: { secureExtensions: ['AUTH PLAIN'] } })
  assert.equal(blanks.peer.commands[3], `AUTH PLAIN ${base64('\0u@relay.test\0 p ')}`, 'but for its line end')
  const login = await run({ tls: tlsOf({}), auth: auth(), script: { secureExtensions: ['AUTH LOGIN'], auth: ['334 VXNlcm5hbWU6', '334 UGFzc3dvcmQ6', '235 2.7.0 ok'] } })
  assert.deepEqual([login.brief, login.peer.commands.slice(3, 6)], ['delivered dot 2.0.0', ['AUTH LOGIN', base64('u@relay.test'), base64(secret)]])
  for (const secureExtensions of [['AUTH LOGIN PLAIN', 'AUTH=LOGIN'], ['AUTH=PLAIN', 'AUTH LOGIN'], ['AUTH PLAIN', 'AUTH LOGIN']]) {
    const twice = await run({ tls: tlsOf({}), auth: auth(), script: { secureExtensions } })
    assert.deepEqual([twice.brief, twice.peer.commands[3]], [plain.brief, plain.peer.commands[3]], secureExtensions.join())
  }
  const environment = await run({
    tls: tlsOf({}), auth: { user: 'u', passwordEnv: 'RELAY', clearText: false, mechanism: 'login' }, environment: { RELAY: 'p' },
    script: { secureExtensions: ['AUTH LOGIN PLAIN'], auth: ['334 ', '334 ', '235 ok'] },
  })
  assert.deepEqual([environment.brief, environment.peer.commands.slice(3, 6)], ['delivered dot 2.0.0', ['AUTH LOGIN', base64('u'), base64('p')]])
})

test('AUTH XOAUTH2: the token is read anew for each connection; a refusal is heard out', async () => {
  const tokenFile = file('token', 'first')
  const script = { secureExtensions: ['AUTH XOAUTH2 PLAIN'] }
  const change = { user: 'u@relay.test', tokenFile, clearText: false }
  const token = (text: string) => `AUTH XOAUTH2 ${base64(`user=u@relay.test\x01auth=Bearer ${text}\x01\x01`)}`
  assert.equal((await run({ tls: tlsOf({}), auth: change, script })).peer.commands[3], token('first'))
  file('token', 'second')
  const refused = await run({ tls: tlsOf({}), auth: change, script: { ...script, auth: ['334 eyJzdGF0dXMiOiI0MDEifQ==', '535 5.7.8 token is over'] } })
  assert.deepEqual([refused.brief, refused.peer.commands.slice(3, 5)], ['deferred auth 4.7.8', [token('second'), '']])
})

test('never over clear text unless the route says so; what cannot be done defers with a text that says what to do', async () => {
  const clear = { tls: tlsOf({ level: 'none' }), script: { extensions: ['AUTH PLAIN'] } }
  const kept = await run({ ...clear, auth: auth() })
  assert.deepEqual([kept.brief, kept.peer.commands.some((line) => line.startsWith('AUTH'))], ['deferred auth 4.7.0', false])
  assert.match(kept.text, /AUTH would go in the clear\. Set tls/)
  assert.equal((await run({ ...clear, auth: auth({ clearText: true }) })).brief, 'delivered dot 2.0.0')
  const none = await run({ tls: tlsOf({}), auth: auth() })
  assert.match(none.text, /credentials for AUTH plain or login, the host offers no AUTH/)
  const gone = auth()
  const lost = await run({ tls: tlsOf({}), auth: gone, script: { secureExtensions: ['AUTH PLAIN'] }, change: { tls: async () => {
    rmSync(gone.passwordFile)
    return loadHopOptions([{ domain: 'a', nextHop: '[relay.test]', tls: tlsOf({}) }])('[relay.test]').tls
  } } })
  assert.match(`${lost.brief} ${lost.text}`, /^deferred auth 4.7.0 .*password cannot be read \(ENOENT\)/)
})

test('without a word about TLS a route with AUTH verifies: a password is not given to whoever answers', async () => {
  const refused = await run({ auth: auth(), script: { secureExtensions: ['AUTH PLAIN'] } })
  assert.deepEqual([refused.brief, refused.peer.commands.some((line) => line.startsWith('AUTH'))], ['deferred tls 4.7.5', false])
})

test('a refused AUTH defers, and no secret comes back, though the host echoes it', async () => {
  const sent = base64(`\0u@relay.test\0${secret}`)
  const refused = await run({ tls: tlsOf({}), auth: auth(), script: { secureExtensions: ['AUTH PLAIN'], auth: [`535-5.7.8 AUTH PLAIN ${sent}\r\n535 5.7.8 is not for you`] } })
  assert.equal(refused.brief, 'deferred auth 4.7.8')
  assert.match(refused.text, /535 5\.7\.8 AUTH PLAIN \*\*\* is not for you \(in reply to AUTH\)/)
  const all = JSON.stringify(refused.result)
  assert.ok(!all.includes(sent) && !all.includes(secret))
  assert.equal(refused.result.tries[0]!.tls?.verified, true)
})

test('an echo that is cut short, in capitals or of a part alone gives no secret away either', async () => {
  const plain = base64(`\0u@relay.test\0${secret}`)
  const inPlain = [plain.slice(0, -9), plain.slice(9), plain.toUpperCase(), Buffer.from(secret).toString('latin1').slice(0, -3)].map((echo) => ['PLAIN', [], echo] as const)
  const inLogin = [base64(secret).slice(0, 12), base64(secret).slice(5)].map((echo) => ['LOGIN', ['334 VXNlcm5hbWU6', '334 UGFzc3dvcmQ6'], echo] as const)
  for (const [mechanism, steps, echo] of [...inPlain, ...inLogin]) {
    const { text } = await run({ tls: tlsOf({}), auth: auth(), script: { secureExtensions: [`AUTH ${mechanism}`], auth: [...steps, `500 5.5.2 unknown: ${echo}... try again`] } })
    assert.match(text, /500 5\.5\.2 unknown: \*\*\*\.\.\. try again/, `${mechanism} ${echo}`)
  }
  // What is longer than we keep of a line is cut by us.
  const token = 'tok3n-'.repeat(600)
  const long = await run({
    tls: tlsOf({}), auth: { user: 'u', tokenFile: file('long', token), clearText: false },
    script: { secureExtensions: ['AUTH XOAUTH2'], auth: [`500 5.5.2 AUTH XOAUTH2 ${base64(`user=u\x01auth=Bearer ${token}\x01\x01`)}`] },
  })
  assert.match(long.text, /500 5\.5\.2 AUTH XOAUTH2 \*\*\* \(in reply to AUTH\)/)
})

test('files that a route names are read at start, and the fault says which and why', () => {
  const refused = (options: Partial<RouteOptions>, pattern: RegExp) => assert.throws(() => loadHopOptions([{ domain: 'a', nextHop: '[r]', ...options }], {}, {}), pattern)
  refused({ tls: tlsOf({ ca: '/nonexistent/ca.pem' }) }, /^UnusableSetting|routes\[0\] \(to \[r\]\): tls\.ca \/nonexistent\/ca\.pem cannot be read \(ENOENT\)/)
  refused({ tls: tlsOf({ ca: file('no.pem', 'hello') }) }, /tls\.ca .*no\.pem holds no certificate in PEM form/)
  refused({ tls: tlsOf({ cert: file('c.pem', client.cert), key: file('k.pem', relay.key) }) }, /tls\.cert and tls\.key cannot be used: .*key values mismatch/)
  refused({ auth: { user: 'u', passwordFile: '/nonexistent/p', clearText: false } }, /the secret in \/nonexistent\/p cannot be read \(ENOENT\)/)
  refused({ auth: { user: 'u', passwordFile: file('two', 'a\nb\n'), clearText: false } }, /must hold one line/)
  refused({ auth: { user: 'u', passwordEnv: 'NOT_THERE', clearText: false } }, /the environment has no NOT_THERE/)
  assert.throws(() => loadHopOptions([{ domain: 'a', nextHop: '[r]', auth: { user: 'u', passwordEnv: 'EMPTY', clearText: false } }], {}, { EMPTY: '' }), /the environment has no EMPTY/)
})

test('routes with files of their own have connections of their own', () => {
  const files = { ca: caFile }
  const options = loadHopOptions([{ domain: 'a', nextHop: '[r]', tls: tlsOf(files) }, { domain: 'b', nextHop: 'r', tls: tlsOf(files) }, { domain: 'c', nextHop: 'c', tls: tlsOf({ ca: undefined }) }])
  assert.deepEqual(['[r]', 'r', 'c', 'other'].map((nextHop) => options(nextHop).tls.id), ['[r]', 'r', '', ''])
})
