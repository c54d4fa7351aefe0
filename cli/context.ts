// What a command works with: the settings, completed by a running dev mode's note, and the database.

import { loadSettings } from '../settings/load.ts'
import type { Settings } from '../settings/schema.ts'
import { openDatabase, type Sql } from '../store/database.ts'
import { CommandError } from './errors.ts'
import { type DevNote, readDevNote } from './state.ts'

export interface CommandContext {
  settings: Settings
  dev: DevNote | null
}

export function loadContext(file: string | undefined): CommandContext {
  const { settings } = loadSettings({ file })
  const dev = readDevNote(settings.state)
  if (dev) {
    settings.database.url ||= dev.databaseUrl
    settings.temporal.address ||= dev.temporalAddress
  }
  return { settings, dev }
}

export function requireDatabaseUrl(settings: Settings): string {
  if (settings.database.url) return settings.database.url
  throw new CommandError('no database is set. Set DATABASE_URL, or start dev mode here with: npm start', 78)
}

/** Runs a command on the database and closes it. */
export async function withDatabase<T>(settings: Settings, use: (sql: Sql) => Promise<T>): Promise<T> {
  const sql = openDatabase(requireDatabaseUrl(settings), 2, 'everpost cli', true)
  try {
    return await use(sql)
  } finally {
    await sql.end({ timeout: 1 })
  }
}
