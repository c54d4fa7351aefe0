// Temporal as operators run it: its real server on Postgres, prepared by the very scripts of the compose file. Its binaries
// are built by hand (docs/performance.md says how), since no package holds them.

import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parse, stringify } from 'yaml'
import { type Child, startChild } from '../../dev/child.ts'
import { findTemporal, serves } from '../../dev/temporal.ts'
import { openDatabase } from '../../store/database.ts'

export const temporalDatabases = ['temporal', 'temporal_visibility']
const compose = fileURLToPath(new URL('../../../compose/', import.meta.url))
const run = promisify(execFile)

/** Why it cannot be had; null when it can. */
export function lacksTemporalServer(): string | null {
  const folder = process.env['EVERPOST_TEMPORAL_BIN']
  if (!folder) return "EVERPOST_TEMPORAL_BIN names no folder with Temporal's server"
  const missing = ['temporal-server', 'temporal-sql-tool'].find((name) => !existsSync(join(folder, name)))
  return missing ? `there is no ${missing} in ${folder}` : null
}

export interface OnPostgresOptions {
  /** Its configuration and log; started there again, it is the same server, with its ports and databases. */
  folder: string
  /** postgres://user:password@host:port/… of a user that may create databases. */
  postgres: string
  given?: Choices
}

export interface Choices {
  /** Of history: fixed by the first start. */
  shards: number
  /** Through which it speaks to Postgres. */
  driver: string
}

/** Those of docker-compose.yml. */
export function usualChoices(): Choices {
  const { services } = parse(readFileSync(join(compose, '../docker-compose.yml'), 'utf8'), { merge: true })
  const { NUM_HISTORY_SHARDS, DB } = services.temporal.environment
  return { shards: Number(NUM_HISTORY_SHARDS), driver: DB }
}

export interface OnPostgres {
  address: string
  pid: number
  stop(): Promise<void>
}

/** Starts it, at first with new databases and the namespace `default`; resolves when it serves. */
export async function startTemporalOnPostgres({ folder, postgres, given = usualChoices() }: OnPostgresOptions): Promise<OnPostgres> {
  const lacks = lacksTemporalServer()
  if (lacks) throw new Error(lacks)
  mkdirSync(folder, { recursive: true })
  const path = join(folder, 'temporal.yaml')
  if (!existsSync(path)) writeFileSync(path, stringify(await configuration(new URL(postgres), given)))
  const address = `127.0.0.1:${parse(readFileSync(path, 'utf8')).services.frontend.rpc.grpcPort}`
  const known = existsSync(preparedFile(folder))
  if (!known) await createTemporalDatabases(postgres)
  const child = startChild({
    command: [join(process.env['EVERPOST_TEMPORAL_BIN']!, 'temporal-server'), '--root', folder, '--config', '.', '--env', 'temporal', '--allow-no-auth', 'start'],
    logFile: join(folder, 'temporal.log'), pidFile: join(folder, 'temporal.pid'), stopSignal: 'SIGTERM',
  })
  try {
    if (!known) await registerNamespace(folder, address, child)
    await untilServes(address, child)
    writeFileSync(preparedFile(folder), '')
  } catch (error) {
    await child.stop()
    throw error
  }
  return { address, pid: child.pid, stop: () => child.stop() }
}

/** Takes its databases away, with all that it knew; started in the same folder, it begins anew. It must not run. */
export async function forgetTemporalOnPostgres({ folder, postgres }: OnPostgresOptions): Promise<void> {
  rmSync(preparedFile(folder), { force: true })
  const sql = openDatabase(postgres, 1, 'wipe')
  try {
    for (const name of temporalDatabases) await sql`drop database if exists ${sql(name)} with (force)`
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/** There when its databases and its namespace are. */
const preparedFile = (folder: string) => join(folder, 'prepared')

async function registerNamespace(folder: string, address: string, child: Child): Promise<void> {
  rmSync(join(folder, 'temporal'), { force: true })
  symlinkSync((await findTemporal(() => {})).path, join(folder, 'temporal'))
  const environment = { ...process.env, PATH: `${folder}:${process.env['PATH']}`, TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: 'default' }
  const waiting = new AbortController()
  const watch = setInterval(() => { if (child.ended()) waiting.abort(new Error("Temporal's server ended at once; its log tells why")) }, 500)
  await run('sh', [join(compose, 'temporal-namespace.sh')], { env: environment, signal: waiting.signal }).finally(() => clearInterval(watch))
  // Each of its parts learns of a new namespace within some seconds.
  await sleep(10_000)
}

async function untilServes(address: string, child: Child): Promise<void> {
  for (const begun = Date.now(); !(await serves(address));) {
    if (child.ended() || Date.now() - begun > 60_000) throw new Error("Temporal's server does not serve; its log tells why")
    await sleep(200)
  }
}

/** With the tool that Temporal's image for administration has on its PATH. */
export async function createTemporalDatabases(postgres: string): Promise<void> {
  const { hostname, port, username, password } = new URL(postgres)
  const PATH = `${process.env['EVERPOST_TEMPORAL_BIN']}:${process.env['PATH']}`
  const environment = { ...process.env, PATH, SQL_HOST: hostname, SQL_PORT: port, SQL_USER: username, SQL_PASSWORD: password }
  await run('sh', [join(compose, 'temporal-schema.sh')], { env: environment, maxBuffer: 2 ** 26 })
}

/** What the template of Temporal's image makes of the variables in docker-compose.yml, on ports of our own. */
async function configuration({ host, username, password }: URL, { shards, driver }: Choices): Promise<object> {
  const taken = new Set<number>()
  const grpcPort = await lowPort(taken)
  const store = (databaseName: string, connections: number) => ({
    sql: {
      pluginName: driver, databaseName, connectAddr: host, connectProtocol: 'tcp', user: username, password,
      maxConns: connections, maxIdleConns: connections, maxConnLifetime: '1h',
    },
  })
  const service = async (port?: number) => ({ rpc: { grpcPort: port ?? (await lowPort(taken)), membershipPort: await lowPort(taken), bindOnIP: '127.0.0.1' } })
  return {
    log: { stdout: true, level: 'warn' },
    persistence: {
      numHistoryShards: shards, defaultStore: 'default', visibilityStore: 'visibility',
      datastores: { default: store('temporal', 20), visibility: store('temporal_visibility', 10) },
    },
    global: { membership: { maxJoinDuration: '30s', broadcastAddress: '127.0.0.1' } },
    services: { frontend: await service(grpcPort), matching: await service(), history: await service(), worker: await service() },
    clusterMetadata: {
      enableGlobalNamespace: false, failoverVersionIncrement: 10, masterClusterName: 'active', currentClusterName: 'active',
      clusterInformation: { active: { enabled: true, initialFailoverVersion: 1, rpcName: 'frontend', rpcAddress: `127.0.0.1:${grpcPort}` } },
    },
    dcRedirectionPolicy: { policy: 'noop' },
    dynamicConfigClient: { filepath: join(compose, 'temporal-dynamic.yaml'), pollInterval: '60s' },
  }
}

/** A free one that was not given out, and fits into the smallint in which Temporal's table of its members keeps a port. */
async function lowPort(taken: Set<number>): Promise<number> {
  const port = 10_000 + Math.floor(Math.random() * 22_000)
  const server = createServer()
  const free = await new Promise<boolean>((resolve) => server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true)))
  server.close()
  if (!free || taken.has(port)) return await lowPort(taken)
  taken.add(port)
  return port
}
