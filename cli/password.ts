// Reads a password: from a pipe, or from a terminal, which does not show it.

import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { sysexits } from '../mail/sysexits.ts'
import { CommandError } from './errors.ts'

/** Never from the arguments, which every user of the machine can see. Throws CommandError for one that is empty or broken off. */
export async function readPassword(input: NodeJS.ReadableStream & { isTTY?: boolean } = process.stdin, output: NodeJS.WritableStream = process.stderr): Promise<string> {
  const password = input.isTTY ? await typed(input, output) : (await text(input)).replace(/\r?\n$/, '')
  if (password === '') throw new CommandError('the password is empty. Type it, or pipe it in.', sysexits.usage)
  return password
}

/** As a terminal of its own, readline alone writes what is typed: here into nothing. */
async function typed(input: NodeJS.ReadableStream, output: NodeJS.WritableStream): Promise<string> {
  output.write('Password: ')
  const terminal = createInterface({ input, output: new Writable({ write: (_chunk, _encoding, done) => done() }), terminal: true })
  try {
    return await terminal.question('')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ABORT_ERR') throw error
    throw new CommandError('nothing was changed')
  } finally {
    terminal.close()
    output.write('\n')
  }
}
