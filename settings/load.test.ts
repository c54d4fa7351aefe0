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
      assert.match(error.message, /:1: hostname is 5; allowed: a text/)
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

test('how Temporal is spoken to: paths count from the file, the key of the environment goes over it, and what makes no sense is refused', () => {
  withFile('temporal: { address: "h:1", tls: { ca: ca.pem, cert: c.pem, key: /k.pem, servername: t.test }, apiKey: old, apiKeyFile: key }\n', (file, folder) => {
    const { temporal } = loadSettings({ file, environment: { TEMPORAL_API_KEY: 'new' } }).settings
    assert.deepEqual(temporal, {
      address: 'h:1', namespace: 'default', taskQueue: 'everpost', apiKey: 'new', apiKeyFile: join(folder, 'key'),
      tls: { ca: join(folder, 'ca.pem'), cert: join(folder, 'c.pem'), key: '/k.pem', servername: 't.test' },
    })
  })
  const refused = (text: string, told: RegExp) => withFile(`temporal: ${text}\n`, (file) => assert.throws(() => loadSettings({ file, environment: {} }), told))
  refused('{ address: "h:1", tls: { cert: c.pem } }', /temporal\.tls is .*; allowed: cert and key together/)
  refused('{ tls: true }', /temporal\.address is .*; allowed: an address, where there is tls/)
  refused('{ address: "h:1", tls: yes please }', /temporal\.tls is "yes please"; allowed: true, false, or a mapping with ca, cert, key, servername/)
  refused('{ address: "h:1", apiKey: "hid den" }', /temporal\.apiKey is "\*\*\*"; allowed: a key, without blanks/)
})

test('what is allowed is told in words, for names of domains too', () => {
  const told = (text: string) => {
    try {
      return withFile(text, (file) => loadSettings({ file, environment: {} }) && '')
    } catch (error) {
      return (error as Error).message.replace(/^.*everpost\.yaml:/gm, '')
    }
  }
  assert.equal(told('http: { port: 70000 }\nlog: []\n'), '1: http.port is 70000; allowed: a port, or 0 for a free one\n2: log is []; allowed: a mapping of keys to values')
  assert.equal(told('limits: { recipients: "5" }'), '1: limits.recipients is "5"; allowed: a number')
  assert.equal(told('log: { level: loud }'), '1: log.level is "loud"; allowed: debug, info, warn, error')
  assert.equal(told('localDomains: { a.test: { deliver: mbox } }'), '1: localDomains.a.test.deliver is "mbox"; allowed: maildir, lmtp, pipe')
  assert.equal(told('localDomains: { "a b": { deliver: maildir, path: x } }'), '1: localDomains.a b: its name must be a domain name, such as example.test')
  assert.equal(told('destinations: { providers: [{ name: "", hosts: [] }] }'),
    '1: destinations.providers[0].name is ""; allowed: a text that is not empty\n1: destinations.providers[0].hosts is []; allowed: a list that is not empty')
  assert.equal(told('retry: { rules: [{ match: { code: abc }, then: {} }] }'), '1: retry.rules[0].match.code is "abc"; allowed: a reply code such as 421, 45x or 4xx')
})

test('a domain is named once, in one spelling, and a port is listened on once', () => {
  const refused = (text: string, told: RegExp) => withFile(text, (file) => assert.throws(() => loadSettings({ file, environment: {} }), told))
  const maildir = '{ deliver: maildir, path: x }'
  refused(`localDomains:\n  example.test: ${maildir}\n  Example.Test: ${maildir}\n`, /:3: localDomains\.Example\.Test is .*; allowed: a domain of its own: example\.test has the same/)
  refused('relayDomains: { bücher.test: {}, xn--bcher-kva.test: {} }', /relayDomains\.xn--bcher-kva\.test/)
  refused('routes:\n- { domain: x.test, nextHop: a }\n- { domain: X.test, nextHop: b }\n', /:3: routes\[1\] is .*; allowed: a domain of its own: \[0\] has the same/)
  refused('routes: [{ domain: "*.b\u00fccher.test", nextHop: a }, { domain: "*.xn--bcher-kva.test", nextHop: a }]', /routes\[1\]/)
  refused('listeners:\n- { kind: smtp, port: 2525 }\n- { kind: lmtp, port: 2525 }\n', /:3: listeners\[1\] is .*; allowed: a port or a path of its own: \[0\] has the same/)
  withFile('listeners: [{ kind: smtp, port: 0 }, { kind: lmtp, port: 0 }, { kind: smtp, port: 25, address: "::1" }, { kind: smtp, port: 25 }]', (file) => loadSettings({ file, environment: {} }))
})

test('the addresses of Postgres and Temporal are checked, and a wrong one is not repeated: it may hold a password', () => {
  const load = (environment: NodeJS.ProcessEnv) => withFile('{}', (file) => loadSettings({ file, environment }))
  for (const url of ['foo', 'postgres://u:hidden@h:99999/db', 'postgres://u hidden', 'mysql://u:hidden@h/db', 'postgres://u:hid/den@h/db', 'postgres://u:%zz@h/db']) {
    assert.throws(() => load({ DATABASE_URL: url }), (error: Error) => {
      assert.match(error.message, /database\.url is ".*"; allowed: postgres:\/\/user:password@host:port\/database/, url)
      assert.doesNotMatch(error.message, /hid/, url)
      return true
    })
  }
  for (const url of ['postgres://h/db', 'postgresql://u:a,b@h:5432/db?sslmode=require', 'postgres://u:p@ss@h1:5432,h2:5433/db', 'postgres://u:p%40@[::1]/db', 'postgres:///db?host=/run']) {
    assert.equal(load({ DATABASE_URL: url }).settings.database.url, url)
  }
  for (const address of ['http://h:7233', 'h:port', 'h:99999', 'h 7233']) assert.throws(() => load({ TEMPORAL_ADDRESS: address }), /temporal\.address is ".*"; allowed: host:port/, address)
  for (const address of ['h', 'h:7233', '[::1]:7233', '127.0.0.1:1']) assert.equal(load({ TEMPORAL_ADDRESS: address }).settings.temporal.address, address)
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
  const deeper = merge(defaultSettings(), { reports: { verp: { senders: ['lists.test'] } } })
  assert.deepEqual(deeper.reports?.verp, { delimiters: '+=', senders: ['lists.test'] })
  assert.deepEqual(merge({ relayNetworks: ['::1'] }, { relayNetworks: ['10.0.0.0/8'] }), { relayNetworks: ['10.0.0.0/8'] })
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
  refused('- { domain: a, nextHop: "[r]:25", tls: may }\n- { domain: b, nextHop: "[R]", tls: verify }\n', /:3: routes\[1\] is .*; allowed: the same tls, auth, .* as in routes\[0\]/)
})

test('every setting with a default is among the defaults, the empty lists and mappings, too', () => {
  const keysOf = (of: object, path = ''): string[] => Object.entries(of).flatMap(([key, value]) =>
    value !== undefined && value !== null && typeof value === 'object' && !Array.isArray(value) && Object.keys(value).length > 0 ? keysOf(value, `${path}${key}.`) : `${path}${key}`)
  assert.deepEqual(keysOf(defaultSettings()).sort(), keysOf(loadSettings({ file: '/dev/null', environment: {} }).settings).sort())
})

test('an LMTP server is a host and port or a Unix socket, and a route to a socket has nothing that only a network has', () => {
  const told = (text: string) => {
    try {
      return withFile(text, (file, folder) => {
        const agent = loadSettings({ file, environment: {} }).settings.localDomains['a.test'] as { path?: string } | undefined
        return agent?.path?.replace(folder, '.') ?? ''
      })
    } catch (error) {
      return (error as Error).message.replace(/^.*everpost\.yaml:/gm, '')
    }
  }
  const local = (agent: string) => told(`localDomains: { a.test: { deliver: lmtp, ${agent} } }`)
  assert.equal(local('path: run/lmtp'), './run/lmtp')
  assert.equal(local('host: h.test, port: 24'), '')
  for (const wrong of ['host: h.test', 'port: 24', 'host: h.test, port: 24, path: /run/lmtp', 'returnPath: true']) assert.match(local(wrong), /host and port, or the path of a Unix socket/, wrong)
  // A relative one is as long as it is from the root.
  for (const path of [`/${'a'.repeat(107)}`, 'a'.repeat(100)]) assert.match(local(`path: ${path}`), /at most 107 octets/)
  assert.match(told(`listeners: [{ kind: lmtp, path: ${'a'.repeat(100)} }]`), /at most 107 octets/)
  const route = (options: string) => told(`routes: [{ domain: a.test, nextHop: 'lmtp:unix:/run/lmtp'${options} }]`)
  assert.equal(route(''), '')
  for (const wrong of [', tls: may', ', source: { ipv4: 127.0.0.1 }', ', addressFamilies: [ipv4]']) assert.match(route(wrong), /with a Unix socket, which has none of them/, wrong)
})
