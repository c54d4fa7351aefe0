import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ensureCertificate } from '../dev/certificate.ts'
import { hashPassword } from '../ingress/password.ts'
import { readAttempts } from '../store/attempts.ts'
import { readMessage } from '../store/messages.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'
import { submitLater } from './support/submit-later.ts'

test('a message submitted with HOLDFOR is delivered when its time has come, through a restart, and no sooner by the word of an operator who flushes the queue', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-held-'))
  const everpost = await prepareEverpost({
    listeners: [{ kind: 'submission', address: '127.0.0.1', port: 0 }],
    tls: await ensureCertificate(folder, 'mx.example.test'),
    users: [{ name: 'alice@example.test', passwordHash: await hashPassword('wonderland') }],
  })
  try {
    const child = await everpost.start()
    const id = await submitLater(everpost, 'bob+later@example.test', 8)
    assert.deepEqual(await everpost.states(id, () => true), ['queued'])
    await everpost.stop(child, 'SIGKILL')
    await everpost.start()
    assert.deepEqual(await everpost.states(id), ['delivered'])
    const [attempt] = await readAttempts(everpost.sql, id, 1)
    const [row] = await everpost.sql<{ acceptedAt: Date }[]>`select accepted_at as "acceptedAt" from messages where id = ${id}`
    assert.ok(attempt!.begunAt.getTime() - row!.acceptedAt.getTime() >= 7900)
    assert.match(everpost.maildir('bob')[0]!, /Subject: later/)

    // The time is the client's, to whom it was promised; whoever flushes the queue means what is late.
    const far = await submitLater(everpost, 'carol@example.test', 3600)
    assert.match((await everpost.command('retry', '--sender', '*', '--yes')).stderr, /nothing that is queued matches/)
    const [recipient] = await readRecipients(everpost.sql, far, 1)
    assert.deepEqual(recipient!.nextAttemptAt, (await readMessage(everpost.sql, far))!.sendAt)
    // Who names it means it.
    assert.equal((await everpost.command('retry', far)).code, 0)
    assert.deepEqual(await everpost.states(far), ['delivered'])
  } finally {
    await everpost.end()
    rmSync(folder, { recursive: true, force: true })
  }
})
