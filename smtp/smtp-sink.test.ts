// Postfix's own test host with each of its faults: what another MTA's authors thought could go wrong.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { needs } from '../test/support/packages.ts'
import { startSmtpSink } from '../test/support/postfix.ts'
import { createDns } from './dns.ts'
import { createPool } from './pool.ts'
import { testRequest } from './testing.ts'
import { transfer, type TransferRequest } from './transfer.ts'

const dns = createDns({ servers: [], timeout: 1000 })

const cases: [string, string[], string, Partial<TransferRequest>?][] = [
  ['all well', [], 'delivered dot 2.0.0'],
  ['no ESMTP', ['-e'], 'delivered dot 2.0.0'],
  ['no pipelining', ['-p'], 'delivered dot 2.0.0'],
  ['a Cisco PIX in between', ['-P'], 'delivered dot 2.0.0'],
  ['LMTP', ['-L'], 'delivered dot 2.2.0', { protocol: 'lmtp' }],
  ...['MAIL', 'RCPT', 'DATA'].flatMap((verb): [string, string[], string][] => [
    [`soft refusal of ${verb}`, ['-r', verb], `deferred ${verb.toLowerCase()} 4.3.0`],
    [`hard refusal of ${verb}`, ['-f', verb], `bounced ${verb.toLowerCase()} 5.3.0`],
    [`loss at ${verb}`, ['-q', verb], `deferred ${verb.toLowerCase()} 4.4.2`],
    [`421 at ${verb}`, ['-Q', verb], `deferred ${verb.toLowerCase()} 4.0.0`],
  ]),
  ['soft refusal of the dot', ['-r', '.'], 'deferred dot 4.3.0'],
  ['hard refusal of the dot', ['-f', '.'], 'bounced dot 5.3.0'],
  ['loss after the dot', ['-q', '.'], 'deferred dot 4.4.2'],
  ['421 at the dot', ['-Q', '.'], 'deferred dot 4.0.0'],
  ['soft refusal at once', ['-r', 'CONNECT'], 'deferred greeting 4.3.0'],
  ['hard refusal at once', ['-f', 'CONNECT'], 'deferred greeting 4.0.0'],
  ['hard refusal of EHLO', ['-f', 'EHLO'], 'delivered dot 2.0.0'],
]

for (const [name, flags, expected, change] of cases) {
  test(`smtp-sink, ${name}: ${expected}`, { skip: needs('smtp-sink') }, async () => {
    const sink = await startSmtpSink(...flags)
    const pool = createPool({ idle: 5000, age: 60_000, messages: 100, connections: 10 })
    try {
      // Twice, so that what is kept of the first cannot spoil the second.
      for (let i = 0; i < 2; i++) {
        const result = await transfer(testRequest(sink.port, { timeouts: { ...testRequest(0).timeouts, block: 5000, dot: 5000 }, ...change }), { dns, pool })
        assert.deepEqual(Object.values(result.outcomes).map(({ status, phase, enhanced }) => `${status} ${phase} ${enhanced}`), [expected, expected])
        if (expected.startsWith('delivered')) assert.equal(result.tries[0]!.reused, i === 1 ? true : undefined)
      }
    } finally {
      pool.close()
      await sink.stop()
    }
  })
}

test('smtp-sink, 550 in the midst of a large message that is read no further', { skip: needs('smtp-sink') }, async () => {
  const sink = await startSmtpSink('-A', '0')
  try {
    let chunks = 0
    const content = async function* () {
      for (; chunks < 2000; chunks++) yield Buffer.alloc(64 * 1024, `${'x'.repeat(70)}\r\n`)
    }
    const { outcomes, dotSent } = await transfer(testRequest(sink.port, { content, size: 2000 * 64 * 1024 }), { dns, pool: createPool({ idle: 0, age: 0, messages: 1, connections: 1 }) })
    // It hangs up with octets unread, so that the network may drop its reply: then the message waits and is tried again.
    for (const { status, phase, enhanced } of Object.values(outcomes)) assert.match(`${status} ${phase} ${enhanced}`, /^(bounced data 5\.0\.0|deferred data 4\.4\.2)$/)
    assert.equal(dotSent, false)
    assert.ok(chunks < 2000, 'the message was not sent to its end')
  } finally {
    await sink.stop()
  }
})
