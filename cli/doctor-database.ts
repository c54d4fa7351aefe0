// The doctor's look at Postgres, the disks, and the queue as Postgres knows it.

import { existsSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import { readBacklog, readServer, readStarted } from '../store/doctor.ts'
import { knownMigrations } from '../store/migrate.ts'
import type { Examination } from './doctor.ts'
import { moment, span } from '../console/format.ts'

/** Milliseconds that clocks may be apart, and that starts and expiries may be late. */
export const clockTolerance = 2000
const grace = 60_000
/** Messages whose workflows are looked at, one by one. */
const looked = 300

/** Looks at the server; returns whether it has the schema, so that its queue can be looked at. Throws when it does not answer. */
export async function checkDatabase(sql: Sql, { findings, notes }: Examination): Promise<boolean> {
  const before = Date.now()
  const server = await readServer(sql)
  const apart = server.now.getTime() - (before + Date.now()) / 2
  for (const { name, setting } of server.unsafe) {
    const todo = `Set ${name} = on in postgresql.conf and reload; Everpost refuses to start until then.`
    findings.push({ check: 'postgres', what: `${name} is ${setting}: a power cut would lose accepted mail`, todo })
  }
  if (Math.abs(apart) > clockTolerance) {
    findings.push({
      check: 'clock', what: `the clock of Postgres is ${span(Math.abs(apart))} ${apart > 0 ? 'ahead of' : 'behind'} this machine's`,
      todo: 'Run a time service (chrony, systemd-timesyncd) on both: leases and retry times go by these clocks.',
    })
  } else notes.push(`The clock of Postgres is within ${Math.max(1, Math.round(Math.abs(apart)))} ms of this machine's.`)
  if (server.connections > server.maxConnections * 0.9) {
    findings.push({ check: 'postgres', what: `${server.connections} of ${server.maxConnections} connections are in use`, todo: 'Raise max_connections, or lower database.connections.' })
  }
  const hasSchema = await checkSchema(sql, { findings, notes })
  // It may be on another machine, in a container, or this role may not know where.
  if (server.dataDirectory && existsSync(server.dataDirectory)) await checkDisk('the data of Postgres', server.dataDirectory, 'all mail is deferred with 452', { findings, notes })
  else notes.push('The disk of Postgres cannot be seen from here: watch its free space where it runs.')
  return hasSchema
}

async function checkSchema(sql: Sql, { findings }: Examination): Promise<boolean> {
  const applied = await sql<{ number: number }[]>`select number from migrations`.catch(() => [])
  const missing = (await knownMigrations()).filter(({ number }) => !applied.some((row) => row.number === number))
  if (missing.length > 0) findings.push({ check: 'postgres', what: `the schema lacks ${missing.map(({ name }) => name).join(', ')}`, todo: 'Run: everpost migrate' })
  return missing.length === 0
}

/** The folders that this machine writes mail and state to. */
export async function checkDisks(settings: Settings, examination: Examination): Promise<void> {
  const folders: [what: string, folder: string, full: string][] = [['the state folder', settings.state, 'dev mode, whose database is there, defers all mail']]
  for (const [domain, agent] of Object.entries(settings.localDomains)) {
    if (agent.deliver === 'maildir') folders.push([`the Maildirs of ${domain}`, agent.path.slice(0, Math.max(1, agent.path.search(/[^/]*\{|$/))), `mail for ${domain} waits`])
  }
  for (const [what, folder, full] of folders) if (existsSync(folder)) await checkDisk(what, folder, full, examination)
}

/** `full`: what happens while there is no room. */
async function checkDisk(what: string, folder: string, full: string, { findings, notes }: Examination): Promise<void> {
  const { bavail, blocks, bsize, ffree, files } = await statfs(folder)
  const [free, size] = [bavail * bsize, blocks * bsize]
  const text = `${(free / 1024 ** 3).toFixed(1)} GiB of ${(size / 1024 ** 3).toFixed(1)} free under ${folder} (${what})`
  if (free < Math.min(size * 0.05, 1024 ** 3)) {
    findings.push({ check: 'disk', what: `only ${text}`, todo: `Free some, or enlarge it: while it is full ${full}.` })
  } else if (files > 0 && ffree < files * 0.02) {
    const todo = `Remove small files: without inodes ${full}.`
    findings.push({ check: 'disk', what: `only ${ffree} of ${files} inodes free under ${folder} (${what})`, todo })
  } else notes.push(`${text[0]!.toUpperCase()}${text.slice(1)}.`)
}

/** What waits; returns messages whose workflows are worth a look. */
export async function checkQueue(sql: Sql, settings: Settings, { findings, notes }: Examination): Promise<{ id: string; overdue: boolean }[]> {
  const backlog = await readBacklog(sql, grace)
  if (backlog.unstarted > 0) {
    const age = span(Date.now() - backlog.oldestUnstarted!.getTime())
    findings.push({
      check: 'outbox', what: `${backlog.unstarted} accepted message${backlog.unstarted === 1 ? ' waits' : 's wait'} for a workflow, the oldest for ${age}`,
      todo: 'Start everpost ingress, worker or serve: each starts what waits. If one runs, its log says why it cannot (most often Temporal is away).',
    })
  }
  if (backlog.unstarted >= settings.limits.outbox * 0.8) {
    const todo = 'Bring Temporal and the workers back, or raise limits.outbox.'
    findings.push({ check: 'backlog', what: `limits.outbox (${settings.limits.outbox}) is nearly reached: then mail is deferred with 451`, todo })
  }
  if (backlog.overExpired > 0) {
    findings.push({
      check: 'backlog', what: `${backlog.overExpired} message${backlog.overExpired === 1 ? ' is' : 's are'} queued past the end of the queue lifetime`,
      todo: 'Their workflows should have returned them: look at the findings on workflows and workers.',
    })
  }
  notes.push(`${backlog.queued} message${backlog.queued === 1 ? '' : 's'} queued.`)
  if (backlog.oldestHeld) notes.push(`${backlog.held} on hold, the oldest since ${moment(backlog.oldestHeld)}: everpost queue --status held lists them.`)
  if (backlog.deadLetters > 0) {
    notes.push(`${backlog.deadLetters} dead letter${backlog.deadLetters === 1 ? '' : 's'}: nobody could be told (everpost queue --dead lists them).`)
  }
  return await readStarted(sql, looked)
}
