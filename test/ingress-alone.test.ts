import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { prepareEverpost } from './support/everpost.ts'

test('an ingress without a worker does not load the native part of the SDK of Temporal, and starts workflows all the same', { skip: process.platform !== 'linux' && 'there is no /proc' }, async () => {
  const everpost = await prepareEverpost()
  const hasCore = (pid: number) => readFileSync(`/proc/${pid}/maps`, 'utf8').includes('core-bridge')
  try {
    const ingress = await everpost.start('ingress')
    const worker = await everpost.start('worker')
    const id = await everpost.send('carol@example.test')
    assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.deepEqual([hasCore(ingress.pid!), hasCore(worker.pid!)], [false, true])
  } finally {
    await everpost.end()
  }
})
