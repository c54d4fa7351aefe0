// Delivery to a program: the message on its standard input, the verdict in its exit code (sysexits.h). Never a shell.

import { spawn } from 'node:child_process'
import type { Writable } from 'node:stream'
import type { Outcome } from '../mail/outcome.ts'
import { local } from '../mail/verdict.ts'
import { withLf } from './line-ends.ts'

export interface PipeRequest {
  /** Program and arguments. */
  command: string[]
  /** Milliseconds. */
  timeout: number
  /** Beside PATH, all that the program sees. */
  environment: Record<string, string>
  content: AsyncIterable<Uint8Array>
  signal: AbortSignal
}

/** Exit codes that say no for good; every other failure is tried again, as is what the operating system could not do. */
const permanent: Record<number, string> = {
  64: '5.3.5', 65: '5.6.0', 66: '5.3.0', 67: '5.1.1', 68: '5.1.2', 69: '5.3.0', 70: '5.3.0', 73: '5.2.0', 76: '5.5.0', 77: '5.7.0', 78: '5.3.5',
}

const outputKept = 1024

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
  const ended = new Promise<{ code: number | null; problem: string | null }>((resolve) => {
    child.on('error', (error) => resolve({ code: null, problem: `cannot run ${program}: ${error.message}` }))
    child.on('close', (code, signal) => resolve({ code, problem: signal ? `killed by ${signal}` : null }))
  })
  let stopped: string | null = null
  const stop = (why: string) => {
    stopped = why
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    } catch {
      // It has just ended by itself.
    }
  }
  const timer = setTimeout(() => stop(`still running after ${request.timeout / 1000} s`), request.timeout)
  const onAbort = () => stop('broken off')
  request.signal.addEventListener('abort', onAbort, { once: true })
  if (request.signal.aborted) onAbort()
  try {
    await feed(child.stdin, withLf(request.content)).catch((error) => {
      stop('the message could not be read')
      throw error
    })
    const { code, problem } = await ended
    return verdict(program!, code, stopped ?? problem, output.trim())
  } finally {
    clearTimeout(timer)
    request.signal.removeEventListener('abort', onAbort)
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
  if (problem !== null) return local('deferred', '4.3.0', `${program}: ${problem}${said}`)
  if (code === 0) return local('delivered', '2.0.0', `delivered by ${program}`)
  const enhanced = permanent[code ?? -1]
  return local(enhanced ? 'bounced' : 'deferred', enhanced ?? '4.3.0', `${program} ended with exit code ${code}${said}`)
}
