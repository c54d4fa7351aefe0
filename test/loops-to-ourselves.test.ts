import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startDnsServer } from '../smtp/testing-dns.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'

test('a stranger cannot send our mail round in a circle by naming our own address in DNS, or in an address', async () => {
  const dns = await startDnsServer({ 'evil.test/MX': [{ preference: 10, exchange: 'localhost' }], 'implicit.test/A': ['127.0.0.1'], 'better.test/A': ['127.0.0.9'],
    'backup.test/MX': [{ preference: 10, exchange: 'better.test' }, { preference: 20, exchange: 'implicit.test' }] })
  const everpost = await prepareEverpost({ dns: { servers: [dns.server] }, destinations: { circuitFailures: 1 } })
  try {
    await everpost.start('ingress')
    // The port of mail is not for tests to listen on; the worker only knows from the settings that somebody does.
    const config = join(everpost.folder, 'everpost.yaml')
    writeFileSync(config, readFileSync(config, 'utf8').replace('port: 0', 'port: 25'))
    await everpost.start('worker')
    const id = await everpost.send(['a@evil.test', 'b@implicit.test', 'c@[127.0.0.1]', 'd@backup.test'], 'bob@example.test')
    const states = await everpost.states(id, (states) => states.slice(0, 3).every((state) => state === 'bounced'))
    assert.equal(states[3], 'queued')

    const outcomes = (await readAttempts(everpost.sql, id, 10)).flatMap((attempt) => Object.values(attempt.outcomes))
    assert.deepEqual(outcomes.filter(({ status }) => status === 'bounced').map(({ enhanced, phase }) => `${phase} ${enhanced}`), ['dns 5.4.6', 'dns 5.4.6', 'dns 5.4.6'])
    // Nor does it open a circuit: no host has failed.
    const again = await everpost.send('a@evil.test', 'bob@example.test')
    assert.deepEqual(await everpost.states(again), ['bounced'])
    // A better one that is down may come back, so those who are only behind it wait.
    assert.match(outcomes.find(({ status }) => status === 'deferred')!.text, /cannot connect to better\.test/)
  } finally {
    await everpost.end()
    await dns.close()
  }
})
