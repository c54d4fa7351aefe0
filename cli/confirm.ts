// Asks before a command reaches more than it was told by name.

import { createInterface } from 'node:readline/promises'
import { sysexits } from '../mail/sysexits.ts'
import { CommandError } from './errors.ts'

/** Throws unless a person at the terminal says yes; without a terminal it takes --yes. `count`: of messages. Ctrl-C and Ctrl-D are a no. */
export async function confirm(action: string, count: number, input: NodeJS.ReadableStream & { isTTY?: boolean } = process.stdin, output: NodeJS.WritableStream = process.stderr): Promise<void> {
  if (!input.isTTY) throw new CommandError(`${action} would reach ${messages(count)}; add --yes to do it, or --dry-run to see them`, sysexits.usage)
  const terminal = createInterface({ input, output })
  const answer = await terminal.question(`${action} ${messages(count)}? [y/N] `).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ABORT_ERR') throw error
    output.write('\n')
    return ''
  })
  terminal.close()
  if (!/^y(es)?$/i.test(answer.trim())) throw new CommandError('nothing was changed')
}

export function messages(count: number): string {
  return `${count} message${count === 1 ? '' : 's'}`
}
