import assert from 'node:assert/strict'
import { Socket } from 'node:net'
import { test } from 'node:test'
import { settingsSchema } from '../settings/schema.ts'
import { createAdmission } from './admission.ts'
import { createCounters } from './counters.ts'
import { createLimits } from './limits.ts'

test('a client that is gone before it is counted takes no place, and one that goes gives its place back', async () => {
  const settings = settingsSchema.parse({ limits: { connections: 2, clientConnections: 1 } })
  const [listener] = settingsSchema.parse({ listeners: [{ kind: 'smtp', address: '127.0.0.1', port: 0 }] }).listeners
  const admission = createAdmission({ settings, listener: listener!, counters: createCounters(), limits: createLimits(settings.limits, () => false) })
  const client = { address: '::ffff:192.0.2.1', port: 1 }
  assert.throws(() => admission.admit(new Socket().destroy(), client), /gone/)
  assert.throws(() => admission.admit(new Socket(), null), /gone/)
  const socket = new Socket()
  assert.deepEqual(admission.admit(socket, client), { address: '192.0.2.1', port: 1, refused: null })
  assert.equal(admission.admit(new Socket(), client).refused!.enhanced, '4.7.0')
  socket.destroy()
  await new Promise(setImmediate)
  assert.equal(admission.admit(new Socket(), client).refused, null)
})
