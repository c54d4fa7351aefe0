// All that a chaos run kills and starts again: Postgres, Temporal, three Everposts, and the sink and client that stay.

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { stringify } from 'yaml'
import { freePort } from '../../dev/ports.ts'
import { type RunningPostgres, startPostgres } from '../../dev/postgres.ts'
import { startTemporal } from '../../dev/temporal.ts'
import type { SettingsFile } from '../../settings/schema.ts'
import { type Disk, mountDisk } from '../support/disk.ts'
import { kill } from '../support/kill.ts'
import { forgetTemporalOnPostgres, type OnPostgres, startTemporalOnPostgres } from '../support/temporal-on-postgres.ts'
import type { ClientOrders } from './client.ts'
import { findMeans, type Means } from './means.ts'
import type { SinkCommand, SinkOrders } from './sink.ts'

const checkout = fileURLToPath(new URL('../../../', import.meta.url))

export const roles = ['ingress', 'serve', 'worker'] as const
export type Role = (typeof roles)[number]

/** MiB of the disk; what is not used costs nothing. */
const diskSize = 4096

/** Milliseconds; what a nemesis has to outlast to count as dead. */
export const lease = 3000

/** The disk of the cluster could not be had again: nothing may run now, or it would write beneath the mount point, and there is no verdict. */
export class DiskGone extends Error {}

export interface Cluster {
  folder: string
  postgres: RunningPostgres
  /** That Postgres takes at once. */
  connections: number
  temporal: OnPostgres
  everposts: Record<Role, ChildProcess | null>
  sink: ChildProcess
  sinkPort: number
  means: Means
  /** The faults may last as long as an operator's would; else a test waits for them. */
  patient: boolean
  /** What the machine of all but client and sink keeps: Postgres, Temporal, the Maildirs. null: a folder. */
  disk: Disk | null
  /** Writes a line beside the logs. */
  note(line: string): void
  /** Seconds by which the clock of a process is wrong from now on; it runs on from there. */
  setClock(role: Role, seconds: number): void
  /** Starts an Everpost that is not running, armed as told; not waited for. */
  startEverpost(role: Role, point: string): void
  restartPostgres(): Promise<void>
  /** Starts again whichever of Postgres and Temporal has ended. */
  keepServers(): Promise<void>
  restartTemporal(wipe: boolean): Promise<void>
  /** All that runs ends at once, and what was not synced is gone; after `pause` milliseconds the servers run again. Throws DiskGone. */
  losePower(disk: Disk, pause: number): Promise<void>
  tellSink(command: SinkCommand): void
  /** Starts the client. */
  startClient(orders: Pick<ClientOrders, 'seed' | 'clients' | 'rate'>, sent: (count: number) => void): { stop(): Promise<void> }
  ledger: string
  takings: string
  maildir: string
  end(): Promise<void>
}

export interface ClusterOptions {
  seed: number
  sabotage: string
  patient: boolean
  /** Temporal's real server, which keeps all that it knows in the Postgres of the cluster, instead of its dev server on a file. */
  onPostgres: boolean
  /** Another checkout, built: every second process that is started is of that version. */
  other: string | null
  /** Told of every process that ended by a signal. */
  died: (role: Role, signal: string) => void
  /** Told of every point at which a process was struck. */
  reached: (what: string) => void
}

export async function startCluster({ seed, sabotage, patient, onPostgres, other, died, reached }: ClusterOptions): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-chaos-'))
  const at = (name: string) => join(folder, name)
  const postgresPort = await freePort()
  const sinkPort = await freePort()
  const smtp = { ingress: await freePort(), serve: await freePort() }
  const quiet = () => {}
  let starts = 0
  const means = findMeans()
  mkdirSync(at('machine'))
  const disk = means.disk ? mountDisk(at('machine'), diskSize) : null
  const kept = disk?.folder ?? at('machine')
  let dark = false
  const connections = onPostgres ? 300 : 60
  const openPostgres = () => startPostgres({ folder: join(kept, 'database'), port: postgresPort, settings: { max_connections: String(connections), max_wal_size: '256MB' }, progress: quiet })
  const postgres = await openPostgres()
  const where = { folder: at('temporal'), postgres: postgres.url }
  const temporalPort = onPostgres ? 0 : await freePort() // the real one keeps its own
  const openTemporal = () => (onPostgres ? startTemporalOnPostgres(where) : startTemporal({ folder: join(kept, 'temporal'), port: temporalPort, progress: quiet }))
  const temporal = await openTemporal().catch(async (error) => {
    await postgres.stop()
    await disk?.end()
    rmSync(folder, { recursive: true, force: true })
    throw error
  })
  const forgetTemporal = async () => {
    if (onPostgres) await forgetTemporalOnPostgres(where)
    else for (const end of ['', '-wal', '-shm']) rmSync(join(kept, 'temporal', `temporal.db${end}`), { force: true })
  }

  const sink = fork(fileURLToPath(new URL('./sink.js', import.meta.url)))
  const listening = new Promise<{ dns: string }>((resolve) => sink.once('message', (message) => resolve(message as { dns: string })))
  sink.send({ seed, port: sinkPort, takings: at('takings') } satisfies SinkOrders)
  const { dns } = await listening
  const cluster: Cluster = {
    folder, sink, sinkPort, means, patient, disk, postgres, connections, temporal, everposts: { ingress: null, serve: null, worker: null },
    ledger: at('ledger'), takings: at('takings'), maildir: join(kept, 'mail'),
    note: (line) => appendFileSync(at('nemesis.log'), `${new Date().toISOString()} ${line}\n`),
    setClock: (role, seconds) => writeFileSync(at(`${role}.clock`), `${seconds < 0 ? '' : '+'}${seconds}\n`),
    startEverpost(role, point) {
      if (cluster.everposts[role] || dark) return
      const home = other !== null && starts++ % 2 === 1 ? other : checkout
      const child = spawn(process.execPath, [join(home, 'cli/everpost.mjs'), '--config', at(`${role}.yaml`), role], {
        cwd: folder, stdio: ['ignore', 'pipe', 'pipe'],
        env: {
          PATH: process.env['PATH'], HOME: process.env['HOME'], NODE_OPTIONS: `--import ${pathToFileURL(join(home, 'dist/test/chaos/faults/install.js')).href}`,
          EVERPOST_CHAOS_POINT: point, EVERPOST_CHAOS_SABOTAGE: sabotage, ...(means.faketime && role !== 'serve' ? fakeClock(means, at(`${role}.clock`)) : {}),
        },
      })
      for (const stream of [child.stdout, child.stderr]) {
        stream.on('data', (text: Buffer) => {
          appendFileSync(at(`${role}.log`), text)
          // Stopped at a point: it wakes up when others have long taken over.
          if (text.includes('chaos: SIGSTOP')) setTimeout(() => child.kill('SIGCONT'), lease + 1500)
          for (const [, what] of text.toString().matchAll(/^chaos: (.*)$/gm)) reached(what!)
        })
      }
      child.once('exit', (code, signal) => {
        cluster.everposts[role] = null
        died(role, signal ?? `exit code ${code}`)
      })
      cluster.everposts[role] = child
    },
    async restartPostgres() {
      await cluster.postgres.stop()
      // After a kill -9 the children of the old postmaster need a moment to notice.
      cluster.postgres = await again(openPostgres)
    },
    async keepServers() {
      if (!kill(cluster.postgres.pid, 0)) await cluster.restartPostgres()
      if (!kill(cluster.temporal.pid, 0)) await cluster.restartTemporal(false)
    },
    async restartTemporal(wipe) {
      await cluster.temporal.stop()
      if (wipe) await forgetTemporal()
      // Its Postgres may be recovering.
      cluster.temporal = await again(openTemporal)
    },
    async losePower(disk, pause) {
      disk.losePower()
      dark = true
      for (const pid of [cluster.postgres.pid, cluster.temporal.pid]) kill(pid, 'SIGKILL')
      for (const role of roles) cluster.everposts[role]?.kill('SIGKILL')
      await sleep(pause)
      while (roles.some((role) => cluster.everposts[role])) await sleep(100)
      await disk.powerOn().catch((error) => {
        throw new DiskGone(String(error))
      })
      try {
        await cluster.restartPostgres()
        await cluster.restartTemporal(false)
      } finally {
        dark = false
      }
    },
    tellSink: (command) => void sink.send(command),
    startClient(orders, sent) {
      const client = fork(fileURLToPath(new URL('./client.js', import.meta.url)))
      client.on('message', (message: { sent: number }) => sent(message.sent))
      client.send({ ...orders, ports: Object.values(smtp), ledger: cluster.ledger } satisfies ClientOrders)
      const ended = new Promise((resolve) => client.once('exit', resolve))
      return {
        async stop() {
          client.send('stop')
          await ended
        },
      }
    },
    async end() {
      for (const role of roles) cluster.everposts[role]?.kill('SIGKILL')
      sink.kill('SIGKILL')
      await cluster.temporal.stop()
      await cluster.postgres.stop()
      await disk?.end()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  const settings = (role: Role): SettingsFile => ({
    hostname: 'mx.everpost.chaos',
    listeners: role === 'worker' ? [] : [{ kind: 'smtp', address: '127.0.0.1', port: smtp[role] }],
    http: { address: '127.0.0.1', port: 0 },
    localDomains: { 'local.chaos': { deliver: 'maildir', path: `${cluster.maildir}/{localpart}` } },
    routes: [{ domain: 'sink.chaos', nextHop: `[127.0.0.1]:${sinkPort}` }, { domain: 'mx.chaos', nextHop: `mx.chaos:${sinkPort}` }],
    dns: { servers: [dns], timeout: '500ms' },
    retry: { minimalBackoffTime: '500ms', maximalBackoffTime: '3s' },
    transfer: { connectTimeout: '2s', greetingTimeout: '2s', mailTimeout: '2s', rcptTimeout: '2s', dataTimeout: '2s', blockTimeout: '2s', dotTimeout: '3s' },
    // A circuit that opened amid the faults is not to hold the queue when they are over.
    destinations: { circuitPause: '2s', circuitMaximalPause: '10s', resumeOver: '2s' },
    worker: { lease: `${lease}ms` },
    database: { url: cluster.postgres.url },
    temporal: { address: cluster.temporal.address },
  })
  disk?.sync() // what initdb and dev/postgres.ts have made
  for (const role of roles) {
    writeFileSync(at(`${role}.yaml`), stringify(settings(role)))
    cluster.setClock(role, 0)
  }
  return cluster
}

/** What could be started, at one of ten tries. */
async function again<T>(start: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start()
    } catch (error) {
      if (attempt === 10) throw error
      await sleep(500)
    }
  }
}

/** The clock that counts time-outs stays right, as it would. */
function fakeClock({ faketime }: Means, file: string): NodeJS.ProcessEnv {
  return { LD_PRELOAD: faketime, FAKETIME_TIMESTAMP_FILE: file, FAKETIME_CACHE_DURATION: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1', FAKETIME_DISABLE_SHM: '1' }
}
