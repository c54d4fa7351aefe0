import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { CommandError } from './errors.ts'
import { readPassword } from './password.ts'

/** A terminal: what was read, what it was made to show, and whether it echoes by itself what is typed. */
async function atTerminal(keys: string): Promise<{ password: string; shown: string; echo: boolean[] }> {
  const echo: boolean[] = []
  const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: (raw: boolean) => echo.push(!raw) })
  const output = new PassThrough()
  const reading = readPassword(input, output).finally(() => output.end())
  input.write(keys)
  const [password, shown] = await Promise.all([reading, text(output)])
  return { password, shown, echo }
}

test('a password that is typed ends with Enter and is not shown; broken off, nothing is changed; from a pipe it comes as it is', async () => {
  assert.deepEqual(await atTerminal('wonderlanx\x7fd\r'), { password: 'wonderland', shown: 'Password: \n', echo: [false, true] })
  for (const keys of ['half\x03', '\x04']) await assert.rejects(atTerminal(keys), (error) => error instanceof CommandError && error.message === 'nothing was changed')
  await assert.rejects(atTerminal('\r'), /the password is empty/)
  const pipe = new PassThrough()
  pipe.end(' wonder land \n')
  assert.equal(await readPassword(pipe), ' wonder land ')
})
