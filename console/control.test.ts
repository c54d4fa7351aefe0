import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as soon } from 'node:timers/promises'
import { type Control, ControlUnanswered, controlAll } from './control.ts'

const ids = Array.from({ length: 200 }, (_, i) => `M${String(i).padStart(3, '0')}`)
const requests = ids.map((id) => ({ id, request: { action: 'hold', who: 'me', why: '' } as const }))
const done = { changed: ['a@x.test'], count: 1, busy: [] }

test('a message that does not answer is told like one that refuses, and keeps none of the others from being done', async () => {
  let asked = 0
  const control: Control = async (id) => {
    asked++
    if (id === 'M005') return { refused: 'it is on hold already' }
    if (id !== 'M007') return done
    while (asked < ids.length) await soon()
    throw new ControlUnanswered('no worker answered')
  }
  const { refused, ...rest } = await controlAll(control, requests)
  assert.deepEqual(rest, { done: 198, last: 'M199' })
  assert.deepEqual(refused, [{ id: 'M005', error: 'it is on hold already' }, { id: 'M007', error: 'no worker answered' }])
})

test('once nobody answers any more the rest is not asked, and it is told how far it came; nobody at all is a failure', async () => {
  const asked: string[] = []
  const answersUntil = (last: string): Control => async (id) => {
    asked.push(id)
    await soon()
    if (id <= last) return done
    throw new ControlUnanswered('Temporal does not answer')
  }
  const told = await controlAll(answersUntil('M059'), requests)
  assert.equal(told.done, 60)
  assert.equal(told.last, asked.at(-1))
  assert.equal(told.refused.length, asked.length - 60)
  assert.ok(asked.length < 160, `${asked.length} asked`)
  asked.length = 0
  await assert.rejects(controlAll(answersUntil(''), requests), ControlUnanswered)
  assert.equal(asked.length, 40)
})
