// everpost doctor: looks for what would lose or stall mail, and says what to do. Changes nothing, and leaves nothing behind: a workflow of its own
// that shows Temporal's clock is deleted. Exit code 1 when something is wrong.

import { Connection } from '@temporalio/client'
import type { Settings } from '../settings/schema.ts'
import { openDatabase } from '../store/database.ts'
import { connectionOptions } from '../worker/connection.ts'
import { whyUnreachable } from '../worker/unreachable.ts'
import { loadContext, requireDatabaseUrl } from './context.ts'
import { checkCertificates } from './doctor-certificates.ts'
import { checkDatabase, checkDisks, checkQueue } from './doctor-database.ts'
import { checkTemporal } from './doctor-temporal.ts'

export interface Finding {
  /** Which check: outbox, workflow, task, lost, worker, clock, postgres, disk, certificate, backlog, temporal. */
  check: string
  what: string
  todo: string
  /** Queue ids concerned: the first of them. */
  ids?: string[]
}

export interface Examination {
  findings: Finding[]
  /** What was looked at and is well, or is worth knowing. */
  notes: string[]
}

export async function doctor(file: string | undefined, options: { json?: boolean }): Promise<void> {
  const { settings } = loadContext(file)
  const examination: Examination = { findings: [], notes: [] }
  await examine(settings, examination)
  const { findings, notes } = examination
  if (options.json) console.log(JSON.stringify({ well: findings.length === 0, findings, notes }, null, 2))
  else {
    for (const { check, what, todo, ids } of findings) {
      console.log(`WRONG  ${check}: ${what}\n       ${todo}${ids && ids.length > 0 ? `\n       ${ids.slice(0, 10).join(' ')}${ids.length > 10 ? ' ...' : ''}` : ''}`)
    }
    for (const note of notes) console.log(`       ${note}`)
    console.log(findings.length === 0 ? 'All is well.' : `${findings.length} finding${findings.length === 1 ? '' : 's'}.`)
  }
  if (findings.length > 0) process.exitCode = 1
}

async function examine(settings: Settings, examination: Examination): Promise<void> {
  const sql = openDatabase(requireDatabaseUrl(settings), 2, 'everpost doctor')
  let connection: Connection | null = null
  try {
    const hasQueue = await checkDatabase(sql, examination).catch((error: Error) => {
      examination.findings.push({ check: 'postgres', what: `Postgres does not answer: ${error.message}`, todo: 'Start it, or correct DATABASE_URL. Until then mail is refused with 451.' })
      return false
    })
    connection = await connect(settings, examination)
    await checkDisks(settings, examination)
    checkCertificates(settings, examination)
    const started = hasQueue ? await checkQueue(sql, settings, examination) : []
    if (connection) {
      await checkTemporal(connection, settings, hasQueue ? sql : null, started, examination).catch(async (error: unknown) => {
        examination.findings.push({ check: 'temporal', ...(await whyUnreachable(settings, error)) })
      })
    }
  } finally {
    await connection?.close()
    await sql.end({ timeout: 1 })
  }
}

async function connect(settings: Settings, { findings }: Examination): Promise<Connection | null> {
  if (!settings.temporal.address) {
    findings.push({ check: 'temporal', what: 'no Temporal is set', todo: 'Set TEMPORAL_ADDRESS (host:port).' })
    return null
  }
  try {
    return await Connection.connect({ ...connectionOptions(settings), connectTimeout: 5000 })
  } catch (error) {
    findings.push({ check: 'temporal', ...(await whyUnreachable(settings, error)) })
    return null
  }
}
