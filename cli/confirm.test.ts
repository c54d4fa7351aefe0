import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { confirm } from './confirm.ts'
import { CommandError } from './errors.ts'

/** A terminal at which this is typed. */
async function typed(keys: string): Promise<void> {
  const [input, output] = [new PassThrough(), Object.assign(new PassThrough(), { isTTY: true })]
  const asked = confirm('drop', 2, Object.assign(input, { isTTY: true }), output)
  input.write(keys)
  await asked
}

test('yes goes on; anything else, Ctrl-C and Ctrl-D change nothing and say so in a line', async () => {
  await typed('y\n')
  await typed('Yes\n')
  for (const keys of ['\n', 'n\n', '\x03', '\x04']) {
    await assert.rejects(typed(keys), (error) => error instanceof CommandError && error.message === 'nothing was changed' && error.exitCode === 1, JSON.stringify(keys))
  }
})
