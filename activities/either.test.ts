import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { test } from 'node:test'
import { eitherOf } from './either.ts'
import { until } from '../test/support/until.ts'

test('it is aborted with any of the others, or when its time is over', async () => {
  const [a, b] = [new AbortController(), new AbortController()]
  const either = eitherOf([a.signal, b.signal])
  assert.equal(either.signal.aborted, false)
  b.abort()
  assert.equal(either.signal.aborted, true)
  assert.equal(eitherOf([a.signal, b.signal]).signal.aborted, true)
  const timed = eitherOf([a.signal], 5)
  await until('the time is over', () => timed.signal.aborted)
})

test('ended, it leaves nothing behind with the others', () => {
  const long = new AbortController()
  for (let i = 0; i < 100; i++) {
    const either = eitherOf([long.signal], 60_000)
    either.signal.addEventListener('abort', () => {})
    either.end()
  }
  assert.equal(getEventListeners(long.signal, 'abort').length, 0)
})
