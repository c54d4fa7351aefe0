import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { defaultSettings } from './defaults.ts'
import { loadSettings, merge, SettingsError } from './load.ts'

function withFile<T>(text: string, use: (file: string, folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-settings-'))
  try {
    writeFileSync(join(folder, 'everpost.yaml'), text)
    return use(join(folder, 'everpost.yaml'), folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('units become milliseconds and octets, paths count from the file', () => {
  withFile('retry: { minimalBackoffTime: 90s }\nlimits: { messageSize: 1MiB }\nstate: ./s\n', (file, folder) => {
    const { settings } = loadSettings({ file, environment: {} })
    assert.equal(settings.retry.minimalBackoffTime, 90_000)
    assert.equal(settings.retry.maximalBackoffTime, 14_400_000)
    assert.equal(settings.limits.messageSize, 1_048_576)
    assert.equal(settings.state, join(folder, 's'))
  })
})

test('all faults are told at once, each with line, path, value and what is allowed', () => {
  withFile('hostname: 5\nretry:\n  minimalBackoffTime: 5\nroutes: [{ domain: x, nextHop: "[a" }]\nfoo: 1\n', (file) => {
    assert.throws(() => loadSettings({ file, environment: {} }), (error: Error) => {
      assert.ok(error instanceof SettingsError)
      assert.match(error.message, /:1: hostname is 5; allowed: string/)
      assert.match(error.message, /:3: retry\.minimalBackoffTime is 5; allowed: a duration with its unit/)
      assert.match(error.message, /:4: routes\[0\]\.nextHop is "\[a"/)
      assert.match(error.message, /:5: foo: there is no such setting/)
      return true
    })
  })
})

test('a rule that bounces has no time to give up after', () => {
  withFile('retry: { rules: [{ match: { code: 4xx }, then: { action: bounce, giveUpAfter: 1d } }] }\n', (file) => {
    assert.throws(() => loadSettings({ file, environment: {} }), /retry\.rules\[0\]\.then.*bounce gives up at once: leave giveUpAfter out/)
  })
})

test('rules have names of their own, and one that gives up has one', () => {
  const refused = (rules: string, told: RegExp) =>
    withFile(`retry: { rules: [${rules}] }\n`, (file) => assert.throws(() => loadSettings({ file, environment: {} }), told))
  refused('{ name: a, match: {}, then: {} }, { name: a, match: {}, then: {} }', /rules of different names/)
  refused('{ match: {}, then: { giveUpAfter: 1d } }', /has a name/)
})

test('the environment goes over the file', () => {
  withFile('database: { url: "postgres://file", connections: 3 }\n', (file) => {
    const { settings } = loadSettings({ file, environment: { DATABASE_URL: 'postgres://env', TEMPORAL_NAMESPACE: 'mail' } })
    assert.deepEqual(settings.database, { url: 'postgres://env', connections: 3 })
    assert.equal(settings.temporal.namespace, 'mail')
  })
})

test('a missing file says what to do', () => {
  assert.throws(() => loadSettings({ file: '/nonexistent/everpost.yaml', environment: {} }), /cannot be read \(ENOENT\).*--config/)
})

test('one file with every kind of listener, domain and route', () => {
  const text = `hostname: mx.example.test
state: ./var
listeners:
  - { kind: smtp,        address: 127.0.0.1, port: 2525 }
  - { kind: submission,  address: 127.0.0.1, port: 2587 }
  - { kind: submissions, address: 127.0.0.1, port: 2465 }
http: { address: 127.0.0.1, port: 8025 }
tls: { cert: ./tls/cert.pem, key: ./tls/key.pem }
users: [ { name: alice@example.test, passwordHash: "scrypt$..." } ]
relayNetworks: [127.0.0.0/8]
localDomains:
  example.test: { deliver: maildir, path: "./var/mail/{localpart}" }
  lmtp.test:    { deliver: lmtp, host: 127.0.0.1, port: 2424 }
  pipe.test:    { deliver: pipe, command: [/usr/bin/procmail, -d, "{localpart}"] }
routes:
  - { domain: partner.test,      nextHop: "[127.0.0.1]:2626" }
  - { domain: "*.internal.test", nextHop: "relay.internal.test:2525", tls: verify }
dns: { servers: ["127.0.0.1:5353"] }
retry: { minimalBackoffTime: 5m, maximalBackoffTime: 4h, maximalQueueLifetime: 5d, bounceQueueLifetime: 5d }
limits: { messageSize: 50MiB, recipients: 1000 }
`
  withFile(text, (file, folder) => {
    const { settings } = loadSettings({ file, environment: {} })
    assert.equal(settings.listeners.length, 3)
    assert.deepEqual(settings.localDomains['example.test'], { deliver: 'maildir', path: join(folder, 'var/mail/{localpart}') })
    assert.deepEqual(settings.routes[1], { domain: '*.internal.test', nextHop: 'relay.internal.test:2525', tls: { level: 'verify', implicit: false, minVersion: 'TLSv1.2' } })
    assert.equal(settings.limits.messageSize, 50 * 1024 * 1024)
  })
})

test('over the defaults, a section that is written in part keeps the rest of it; a map of domains is as it is written', () => {
  const localDomains = { 'example.test': { deliver: 'maildir' as const, path: 'mail' } }
  const all = merge(defaultSettings(), { limits: { recipients: 7 }, localDomains })
  assert.deepEqual([all.limits?.recipients, all.limits?.messageSize, all.hostname], [7, '50MiB', 'mx.example.test'])
  assert.deepEqual(all.localDomains, localDomains)
})

test('tls of a route is a word or a mapping; its faults are told by the form that was meant', () => {
  const routes = (text: string) => withFile(`routes:\n${text}`, (file, folder) => ({ folder, routes: loadSettings({ file, environment: {} }).settings.routes }))
  const { folder, routes: [word, mapping] } = routes('- { domain: a, nextHop: "[a]", tls: verify }\n- { domain: b, nextHop: "[b]", tls: { level: encrypt, ca: ca.pem } }\n')
  assert.deepEqual(word!.tls, { level: 'verify', implicit: false, minVersion: 'TLSv1.2' })
  assert.deepEqual(mapping!.tls, { level: 'encrypt', implicit: false, minVersion: 'TLSv1.2', ca: join(folder, 'ca.pem') })
  const refused = (text: string, pattern: RegExp) => assert.throws(() => routes(text), pattern, text)
  refused('- { domain: a, nextHop: "[a]", tls: maybe }\n', /routes\[0\]\.tls is "maybe"; allowed: none, may, encrypt, verify, or a mapping/)
  refused('- { domain: a, nextHop: "[a]", tls: { level: encrypt, cert: c.pem } }\n', /routes\[0\]\.tls is .*; allowed: cert and key together/)
  refused('- { domain: a, nextHop: "[a]", tls: { level: strict } }\n', /routes\[0\]\.tls\.level is "strict"; allowed: none, may, encrypt, verify$/)
  refused('- { domain: a, nextHop: "[a]", tls: { level: may, cafile: x } }\n', /routes\[0\]\.tls\.cafile: there is no such setting/)
  refused('- { domain: a, nextHop: "[a]", auth: { user: u } }\n', /exactly one of passwordFile, passwordEnv, tokenFile/)
  refused('- { domain: a, nextHop: "[r]:25", tls: may }\n- { domain: b, nextHop: "[R]", tls: verify }\n', /:3: routes\[1\] is .*; allowed: the same tls and auth as in routes\[0\]/)
})
