// Dev mode in a folder of its own, as on a fresh machine, and the commands typed beside it.

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isTaken } from '../../dev/ports.ts'
import { until } from './until.ts'

const program = fileURLToPath(new URL('../../../cli/everpost.mjs', import.meta.url))
const { DATABASE_URL: _, TEMPORAL_ADDRESS: __, ...environment } = process.env

/** A free port that stays so over restarts: the kernel, which gives ports from 32768 to whoever connects, gives it to nobody. */
export async function lastingPort(): Promise<number> {
  const port = 20_000 + Math.floor(Math.random() * 12_000)
  return (await isTaken(port, '127.0.0.1')) ? await lastingPort() : port
}

export interface Dev {
  child: ChildProcess
  output: () => string
  /** Resolves when its output holds the text; fails when it ends before. */
  says: (text: string) => Promise<unknown>
  ready: () => Promise<unknown>
  /** Sends the signal; resolves when it has ended, to its exit code. */
  end: (signal: NodeJS.Signals) => Promise<number | null>
}

export interface DevFolder {
  folder: string
  /** `terminal`: in one of its own, which is closed when the child is killed. */
  start: (terminal?: 'terminal') => Dev
  everpost: (...args: string[]) => Promise<{ code: number; stdout: string; stderr: string }>
  /** Processes that work in the folder, by their command line. */
  left: () => string[]
  remove: () => Promise<void>
}

export function devFolder(settings: string): DevFolder {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-dev-'))
  writeFileSync(join(folder, 'everpost.yaml'), settings)
  const started = new Set<Dev>()

  const start = (terminal?: 'terminal'): Dev => {
    const [command, ...args] = terminal ? ['script', '--quiet', '--command', `'${process.execPath}' '${program}' dev`, '/dev/null'] : [process.execPath, program, 'dev']
    const child = spawn(command!, args, { cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => { output += text })
    const exited = new Promise<number | null>((resolve) => child.once('close', resolve))
    const says = (text: string) => until(`dev mode says ${text}`, () => {
      if (output.includes(text)) return true
      if (child.exitCode !== null) throw new Error(output)
    })
    const dev: Dev = {
      child, says, output: () => output, ready: () => says('Everpost is ready.'),
      end: async (signal) => {
        started.delete(dev)
        child.kill(signal)
        return await exited
      },
    }
    started.add(dev)
    return dev
  }

  return {
    folder, start,
    everpost: (...args) => new Promise((resolve) => {
      const child = execFile(process.execPath, [program, ...args], { cwd: folder, env: environment }, (error, stdout, stderr) => {
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
      })
      child.stdin!.end('To: bob@example.test\n\nread by those who read standard input\n')
    }),
    left: () => readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1')
        return line.includes(folder) ? [line.replaceAll('\0', ' ')] : []
      } catch {
        return []
      }
    }),
    remove: async () => {
      for (const dev of started) await dev.end('SIGINT')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
