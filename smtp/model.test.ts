// A host whose answers are drawn at random, held against a simple model of who was taken: nobody is lost, nobody twice, whatever way the batches,
// the connections and the refusals fall.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createDns } from './dns.ts'
import { createPool } from './pool.ts'
import { type Answer, recipientsOf, type Script, startPeer, testRequest } from './testing.ts'
import { transfer } from './transfer.ts'

const dns = createDns({ servers: [], timeout: 1000 })

/** Mostly the first. */
const mostly = (good: Answer, ...odd: Answer[]) => fc.oneof({ weight: 8, arbitrary: fc.constant(good) }, { weight: 2, arbitrary: fc.constantFrom(...odd) })

const dialogues = fc.record({
  protocol: fc.constantFrom('smtp' as const, 'lmtp' as const),
  extensions: fc.subarray(['PIPELINING', 'DSN', 'SIZE']),
  limits: fc.constantFrom('', 'LIMITS RCPTMAX=2', 'LIMITS MAILMAX=2', 'LIMITS RCPTMAX=3 MAILMAX=1', 'LIMITS RCPTDOMAINMAX=1'),
  rcptMost: fc.integer({ min: 1, max: 6 }),
  // Each list is gone through round and round.
  mail: fc.array(mostly('250 ok', '421 bye', '451 later', '550 no', 'close'), { minLength: 1, maxLength: 7 }),
  rcpt: fc.array(mostly('250 ok', '421 bye', '450 later', '550 5.1.1 no', '452 full', '552 5.5.3 many', 'close'), { minLength: 1, maxLength: 11 }),
  data: fc.array(mostly('354 go', '421 bye', '451 later', '554 no', 'close'), { minLength: 1, maxLength: 5 }),
  dot: fc.array(mostly('250 ok', '421 bye', '451 later', '554 no', 'close'), { minLength: 1, maxLength: 11 }),
  rset: fc.array(mostly('250 ok', '500 what', 'close'), { minLength: 1, maxLength: 3 }),
  messages: fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 4 }),
})

test('an outcome says delivered if and only if the host took the recipient, and it took nobody twice', async () => {
  const seen = { delivered: 0, deferred: 0, bounced: 0, unknown: 0, reused: 0 }
  await fc.assert(fc.asyncProperty(dialogues, async (dialogue) => {
    const turns = new Map<unknown, number>()
    const next = (answers: Answer[]) => {
      const turn = turns.get(answers) ?? 0
      turns.set(answers, turn + 1)
      return answers[turn % answers.length]!
    }
    const { protocol } = dialogue
    const script: Script = {
      extensions: [...dialogue.extensions, ...(dialogue.limits === '' ? [] : [dialogue.limits])],
      rcptMost: dialogue.rcptMost,
      get mail() { return next(dialogue.mail) },
      get rcpt() { return { '*': next(dialogue.rcpt) } },
      get data() { return next(dialogue.data) },
      get rset() { return next(dialogue.rset) },
      dot: (accepted) => (protocol === 'lmtp' ? accepted : ['']).map(() => next(dialogue.dot)),
    }
    const pool = createPool({ idle: 1000, age: 60_000, messages: 3, connections: 5 })
    const peer = await startPeer(script)
    try {
      for (const [i, count] of dialogue.messages.entries()) {
        const recipients = recipientsOf(...Array.from({ length: count }, (_, n) => `m${i}r${n}@${n % 2 === 0 ? 'x' : 'y'}.test`))
        const earlier = new Set<number>()
        const result = await transfer(testRequest(peer.port, {
          protocol, recipients,
          partly: async (outcomes) => {
            for (const [n, { status }] of outcomes) if (status === 'delivered') earlier.add(n)
          },
        }), { dns, pool })
        assert.equal(Object.keys(result.outcomes).length, count)
        for (const { n, forwardPath } of recipients) {
          const outcome = result.outcomes[n]!
          const taken = peer.taken.filter((address) => address === forwardPath).length
          assert.equal(taken, outcome.status === 'delivered' ? 1 : 0, `${forwardPath}: ${outcome.text}`)
          if (earlier.has(n)) assert.equal(outcome.status, 'delivered')
          if (outcome.status === 'bounced') assert.ok(outcome.reply!.code >= 500)
          seen[outcome.status]++
          if (outcome.phase === 'dot' && outcome.reply === null) seen.unknown++
        }
        if (result.tries.some((tried) => tried.reused)) seen.reused++
      }
    } finally {
      pool.close()
      await peer.close()
    }
  }), { numRuns: 250 })
  // The draw reaches every kind of end.
  for (const [kind, count] of Object.entries(seen)) assert.ok(count > 0, kind)
})
