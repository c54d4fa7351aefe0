import assert from 'node:assert/strict'
import { after, mock, test } from 'node:test'
import { MockActivityEnvironment } from '@temporalio/testing'
import { pino } from 'pino'
import { brokenOff } from '../mail/verdict.ts'
import type { HostTry } from '../mail/outcome.ts'
import { settingsSchema } from '../settings/schema.ts'
import { acceptMessage } from '../store/accept.ts'
import { readAttempts } from '../store/attempts.ts'
import { readRecipients } from '../store/recipients.ts'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { type Deliver, makeAttempt } from './attempt.ts'
import type { ActivityDeps } from './index.ts'

const { sql, drop } = await testDatabase()
after(drop)

test('an attempt that lasts too long is broken off, and counts as one that the host deferred where it had come to', async () => {
  const message = newMessage(['a@slow.test', 'b@slow.test'])
  await acceptMessage(sql, message)
  const deps = {
    sql, settings: settingsSchema.parse({}), log: pino({ level: 'silent' }), worker: 'w', stopping: new AbortController().signal,
    gate: { enter: async () => ({ kind: 'pass', slow: true, leave() {} }) },
  } as unknown as ActivityDeps
  const group = { nextHop: 'slow.test', destination: 'slow.test', recipients: [0, 1], agent: 'smtp' as const, hosts: [], port: 25, returnPath: false }
  const tried: HostTry = {
    host: 'mx.slow.test', address: '192.0.2.1', port: 25, at: new Date().toISOString(), took: 1, tls: null, phase: 'rcpt', dotSent: false, problem: null,
  }
  const hang: Deliver = async ({ signal }) => {
    // Each reply comes in time, and the next command waits for its own.
    for (let i = 0; i < 40 && !signal.aborted; i++) mock.timers.tick(4 * 60_000)
    mock.timers.reset()
    return { outcomes: { 0: brokenOff('broken off'), 1: brokenOff('broken off') }, tries: [tried], dotSent: false }
  }
  mock.timers.enable({ apis: ['setTimeout'] })
  await new MockActivityEnvironment().run(() => makeAttempt(deps, { id: message.id, clock: Date.now(), group }, hang))
  const [recipient] = await readRecipients(sql, message.id, 2)
  assert.deepEqual([recipient!.attempts, recipient!.leasedUntil, recipient!.outcome!.enhanced, recipient!.outcome!.phase], [1, null, '4.4.2', 'rcpt'])
  assert.match(recipient!.outcome!.text, /broken off after 90 minutes, with host mx.slow.test\[192.0.2.1\]/)
  assert.ok(recipient!.nextAttemptAt.getTime() > Date.now() + 60_000)
  assert.ok((await readAttempts(sql, message.id, 1))[0]!.endedAt)
})
