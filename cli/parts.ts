// Puts a process together from its parts, for each role, and takes it apart again in the right order.

import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { createMetrics } from '../console/metrics.ts'
import { startConsole } from '../console/server.ts'
import { keepDestinations } from '../gate/destinations.ts'
import { keepAliases } from '../ingress/aliases.ts'
import { createCounters } from '../ingress/counters.ts'
import { atOnce } from '../ingress/group-commit.ts'
import { startOutbox } from '../ingress/outbox.ts'
import { type Ingress, startIngress } from '../ingress/server.ts'
import { localNames } from '../mail/local-names.ts'
import { sysexits } from '../mail/sysexits.ts'
import type { Settings } from '../settings/schema.ts'
import { createDns } from '../smtp/dns.ts'
import { checkSources, loadHopOptions } from '../smtp/hop-options.ts'
import { createPool } from '../smtp/pool.ts'
import { acceptTime } from '../store/accept.ts'
import { keepClock } from '../store/clock.ts'
import { checkDurability, looking, openDatabase, placeOf, type Sql, whenThere } from '../store/database.ts'
import { createJustAccepted } from '../store/just-accepted.ts'
import { migrate } from '../store/migrate.ts'
import { startJanitor } from '../worker/janitor.ts'
import type { KeptWorker } from '../worker/keep.ts'
import { startWebhooks } from '../worker/webhooks.ts'
import { consoleApi } from './api.ts'
import { requireDatabaseUrl } from './context.ts'
import { CommandError } from './errors.ts'
import { lastingStarter } from './temporal.ts'

export type Role = 'serve' | 'ingress' | 'worker'

export interface Running {
  listeners: Ingress['addresses']
  http: number
  /** Settles when the worker, if there is one, polls. */
  ready: Promise<void>
  /** Reads certificates, and the API key for Temporal, again, where their files have changed. */
  reload(): void
  /** Takes at most nine seconds. */
  stop(): Promise<void>
}

/** Milliseconds for attempts after their final dot when the process stops. */
const grace = 3000
const consoleConnections = 4
/** One that reads figures, one that answers health checks, one that looks for a token. */
const watchConnections = 3

export async function startParts(role: Role, settings: Settings, log: Logger): Promise<Running> {
  const databaseUrl = requireDatabaseUrl(settings)
  if (!settings.temporal.address) throw new CommandError('no Temporal is set. Set TEMPORAL_ADDRESS (host:port).', sysexits.config)
  const { source, addressFamilies, idleTime: idle, connectionAge: age, connectionMessages: messages, idleConnections: connections } = settings.transfer
  const hopOptions = loadHopOptions(role === 'ingress' ? [] : settings.routes, { source, addressFamilies })
  if (role !== 'ingress') await checkSources(settings.routes, source)
  const pool = createPool({ idle, age, messages, connections })
  const sql = openDatabase(databaseUrl, settings.database.connections, `everpost ${role}`)
  const stops: (() => Promise<unknown>)[] = [() => sql.end({ timeout: 2 })]
  const stop = async () => {
    const inOrder = async () => {
      for (const stopPart of stops.reverse()) await stopPart()
    }
    // Whatever hangs in a database or a Temporal that does not answer: the process ends in time, and what it held is taken over.
    await Promise.race([inOrder(), sleep(9000, undefined, { ref: false })])
    stops.length = 0
  }
  try {
    await prepareDatabase(sql, log)
    const clock = keepClock(sql)
    stops.push(clock.stop)
    await clock.read
    const dns = createDns(settings.dns)
    const aliases = await keepAliases(settings, sql, log)
    stops.push(aliases.stop)
    const names = localNames(settings, aliases.get)
    const name = workerName()
    const destinations = role === 'ingress' ? null : keepDestinations({ sql, settings, log, worker: name })
    // A pool of its own: what operators ask takes no connection from the mail.
    const asked = openDatabase(databaseUrl, consoleConnections, `everpost ${role} http`, looking)
    stops.push(() => asked.end({ timeout: 1 }))
    const watched = openDatabase(databaseUrl, watchConnections, `everpost ${role} watch`)
    stops.push(() => watched.end({ timeout: 1 }))
    // Nothing but what accepts runs here, so nothing else is broken off, and a client is told in time.
    const accepting = openDatabase(databaseUrl, atOnce, `everpost ${role} accept`, { statement_timeout: String(acceptTime) })
    stops.push(() => accepting.end({ timeout: 1 }))
    const counters = createCounters()
    const metrics = createMetrics(watched, counters.all)
    const justAccepted = createJustAccepted()
    const worker = destinations ? (await loadWorker(log)).keepWorker({
      justAccepted, attempted: metrics.attempted, settings, sql, dns, names, pool, hopOptions, log, gate: destinations.gate, worker: name, grace,
    }) : null
    const starter = worker ?? lastingStarter(settings, log)
    if ('close' in starter) stops.push(starter.close)
    const { startMessage } = starter
    const outbox = await startOutbox({ sql, startMessage, limit: settings.limits.outbox, log })
    stops.push(outbox.stop)
    const ingress = role === 'worker' ? null : await startIngress({ settings, sql, accepting, aliases, startMessage, dns, log, outbox, counters, ...(worker ? { justAccepted } : {}) })
    const janitor = worker ? startJanitor({ sql, log, eventsKept: settings.retention.events }) : null
    const webhooks = worker ? startWebhooks({ sql, settings, log }) : null
    const api = consoleApi({ sql: asked, settings, log, aliases, outbox, counters, startMessage })
    // Side by side: each has its own time limit, and attempts past their dot need all of theirs. What the edges still take is committed,
    // and left to the outbox of another process, or of the next.
    const together: ({ stop(): Promise<void> } | null)[] = [ingress, worker, outbox, janitor, webhooks]
    stops.push(async () => {
      await Promise.all(together.map((part) => part?.stop()))
      pool.close()
      await destinations?.stop()
    })
    const { address, port } = settings.http
    const console = await startConsole({
      sql: asked, watched, address, port, parts: () => parts(role, worker), metrics: { text: metrics.text, open: settings.http.metrics === 'open' }, api,
    })
    together.push(console)
    const reload = () => {
      ingress?.reload()
      starter.reload()
    }
    // Last, so that a process which cannot have its ports has begun nothing. What came in meanwhile is committed, and the outbox knows it.
    worker?.start()
    return { listeners: ingress?.addresses ?? [], http: console.port, ready: worker?.ready ?? Promise.resolve(), reload, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Waits half a minute for a database that is just starting. */
async function prepareDatabase(sql: Sql, log: Logger): Promise<void> {
  await whenThere(() => checkDurability(sql), (seen) => log.warn(`waiting up to 30 s for Postgres at ${placeOf(sql)}: ${seen}`))
  const applied = await migrate(sql)
  if (applied.length > 0) log.info({ applied }, 'schema migrated')
}

/** Temporal's native part is loaded where there is a worker: ingress does without, and is up sooner. */
async function loadWorker(log: Logger) {
  const [{ installRuntime }, worker] = await Promise.all([import('../worker/runtime.ts'), import('../worker/keep.ts')])
  installRuntime(log)
  return worker
}

function workerName(): string {
  return `${hostname()}:${process.pid}:${randomBytes(3).toString('hex')}`
}

function parts(role: Role, worker: KeptWorker | null): Record<string, string> {
  return { role, ...(worker ? { worker: worker.polling() ? 'polling' : 'waiting for Temporal' } : {}) }
}
