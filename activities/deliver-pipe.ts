// Delivery to a program: the message on its standard input, the verdict in its exit code (sysexits.h). Never a shell. Once it has the
// whole message only the exit code can tell what became of it, as after SMTP's final dot.

import { spawn } from 'node:child_process'
import type { Writable } from 'node:stream'
import type { Outcome } from '../mail/outcome.ts'
import { sysexits } from '../mail/sysexits.ts'
import { brokenOff, local } from '../mail/verdict.ts'
import { withLf } from './line-ends.ts'

export interface PipeRequest {
  /** Program and arguments. */
  command: string[]
  /** Milliseconds. */
  timeout: number
  /** Beside PATH, all that the program sees. */
  environment: Record<string, string>
  content: AsyncIterable<Uint8Array>
  /** Aborted: breaks off a program that does not have the whole message yet. */
  signal: AbortSignal
  /** Aborted: this process stops, so that a program that has it can be waited for no longer than `grace`. */
  stopping: AbortSignal
}

/** Milliseconds: a little less than a worker that stops has for attempts past their dot, so that the verdict can still be recorded. */
const grace = 2500

/** Milliseconds for what it has written, after it has ended, and for its end, after it was killed. */
const lastWords = 1000

/** Exit codes that say no for good; every other failure is tried again, as is what the operating system could not do. */
const permanent: Record<number, string> = {
  [sysexits.usage]: '5.3.5', [sysexits.dataErr]: '5.6.0', [sysexits.noInput]: '5.3.0', [sysexits.noUser]: '5.1.1', [sysexits.noHost]: '5.1.2', [sysexits.unavailable]: '5.3.0',
  [sysexits.software]: '5.3.0', [sysexits.cantCreat]: '5.2.0', [sysexits.protocol]: '5.5.0', [sysexits.noPerm]: '5.7.0', [sysexits.config]: '5.3.5',
}

const outputKept = 1024

/** The outcome's phase is `policy` when the program was broken off before it had the whole message. Throws when the content cannot be read. */
export async function deliverPipe(request: PipeRequest): Promise<Outcome> {
  const [program, ...args] = request.command
  const child = spawn(program!, args, {
    // A process group of its own, so that the time-out reaches what the program has started.
    detached: true, cwd: '/', env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', ...request.environment },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(0, outputKept)
    })
  }
  // What it has left running, in a session of its own perhaps, may hold them for as long as it likes.
  const letGo = () => {
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy()
  }
  let last: NodeJS.Timeout | undefined
  let giveUp = (_problem: string) => {}
  const ended = new Promise<{ code: number | null; problem: string | null }>((resolve) => {
    giveUp = (problem) => resolve({ code: null, problem })
    child.on('error', (error) => giveUp(`cannot run ${program}: ${error.message}`))
    child.on('exit', () => { last = setTimeout(letGo, lastWords) })
    child.on('close', (code, signal) => resolve({ code, problem: signal ? `killed by ${signal}` : null }))
  })
  let whole = false
  let broken = false
  let stopped: string | null = null
  const stop = (why: string) => {
    stopped = why
    clearTimeout(last)
    last = setTimeout(giveUp, lastWords, why)
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    } catch {
      // It has just ended by itself, or left its group.
    }
    child.kill('SIGKILL')
    letGo()
  }
  const timer = setTimeout(() => stop(`still running after ${request.timeout / 1000} s`), request.timeout)
  const onAbort = () => {
    if (whole) return
    broken = true
    stop('broken off')
  }
  let stopAt: NodeJS.Timeout | undefined
  const onStopping = () => {
    stopAt = setTimeout(() => stop('this process stopped before it ended; whether it has delivered is unknown'), grace)
  }
  request.signal.addEventListener('abort', onAbort)
  request.stopping.addEventListener('abort', onStopping)
  if (request.signal.aborted) onAbort()
  if (request.stopping.aborted) onStopping()
  try {
    await feed(child.stdin, withLf(request.content)).catch((error) => {
      stop('the message could not be read')
      throw error
    })
    whole = true
    const { code, problem } = await ended
    if (broken && code === null) return brokenOff(`${program}: broken off before it had the whole message`)
    return verdict(program!, code, stopped ?? problem, output.trim())
  } finally {
    clearTimeout(timer)
    clearTimeout(last)
    clearTimeout(stopAt)
    request.signal.removeEventListener('abort', onAbort)
    request.stopping.removeEventListener('abort', onStopping)
  }
}

/** Writes all that the program reads. One that stops reading has its say by its exit code; a fault of the content is thrown. */
async function feed(input: Writable, content: AsyncIterable<Uint8Array>): Promise<void> {
  const closed = new Promise<void>((resolve) => input.on('error', () => resolve()).on('close', () => resolve()))
  for await (const chunk of content) {
    if (input.destroyed) return
    if (!input.write(chunk)) await Promise.race([new Promise((resolve) => input.once('drain', resolve)), closed])
  }
  input.end()
}

function verdict(program: string, code: number | null, problem: string | null, output: string): Outcome {
  const said = output === '' ? '' : `: ${output}`
  // What it has started may have been killed after it: it has had its say.
  if (code === null) return local('deferred', '4.3.0', `${program}: ${problem}${said}`)
  if (code === 0) return local('delivered', '2.0.0', `delivered by ${program}`)
  const enhanced = permanent[code]
  return local(enhanced ? 'bounced' : 'deferred', enhanced ?? '4.3.0', `${program} ended with exit code ${code}${said}`)
}
