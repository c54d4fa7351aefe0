// everpost health: asks the Everpost process of this machine whether it is well; the exit code is for container health checks.

import { sysexits } from '../mail/sysexits.ts'
import { loadContext } from './context.ts'
import { CommandError } from './errors.ts'

/** Milliseconds; longer than the process waits for its database. */
const patience = 4000

export async function printHealth(file: string | undefined): Promise<void> {
  const { address, port } = loadContext(file).http
  const host = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '[::1]' : address.includes(':') ? `[${address}]` : address
  const url = `http://${host}:${port}/readyz`
  const answer = await fetch(url, { signal: AbortSignal.timeout(patience) }).catch((error: Error) => {
    if (error.name === 'TimeoutError') throw new CommandError(`${url} did not answer within ${patience / 1000} s: the process hangs, or is too busy.`, sysexits.unavailable)
    throw new CommandError(`nothing answers at ${url} (${(error.cause as Error | undefined)?.message ?? error.message}). Does Everpost run, with these settings?`, sysexits.unavailable)
  })
  console.log(await answer.text())
  if (!answer.ok) process.exitCode = sysexits.unavailable
}
