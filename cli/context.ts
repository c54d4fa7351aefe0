// What a command works with: the settings, with what a running dev mode's note adds, and the database.

import { sysexits } from '../mail/sysexits.ts'
import { loadSettings, type Loaded } from '../settings/load.ts'
import type { Listener, Settings } from '../settings/schema.ts'
import { looking, openDatabase, type Sql } from '../store/database.ts'
import { CommandError } from './errors.ts'
import { type DevNote, readDevNote } from './state.ts'

export interface CommandContext extends Loaded {
  dev: DevNote | null
  /** Where the Everpost of this machine listens: what the settings say, with the ports that dev mode has in place of 0. */
  listeners: Listener[]
  http: { address: string; port: number }
}

/** The settings of the file; beside a running dev mode, those that it runs with. Throws SettingsError. */
export function loadContext(file: string | undefined): CommandContext {
  const alone = loadSettings({ file })
  const dev = readDevNote(alone.settings.state)
  if (!dev) return { ...alone, dev, listeners: alone.settings.listeners, http: alone.settings.http }
  const { settings, written } = loadSettings({ file, base: dev.base })
  settings.routes.push(...dev.routes)
  return { settings, written: { ...written, routes: [...(written.routes ?? []), ...dev.routes] }, dev, listeners: dev.listeners, http: dev.http }
}

export function requireDatabaseUrl(settings: Settings): string {
  if (settings.database.url) return settings.database.url
  throw new CommandError('no database is set. Set DATABASE_URL (postgres://user:password@host/database), or start dev mode here with: npm start', sysexits.config)
}

/** Runs a command on the database and closes it. One that is not there fails it at once: who typed it sees why, and may type it again. */
export async function withDatabase<T>(settings: Settings, use: (sql: Sql) => Promise<T>): Promise<T> {
  const sql = openDatabase(requireDatabaseUrl(settings), 2, 'everpost cli', looking)
  try {
    return await use(sql)
  } finally {
    await sql.end({ timeout: 1 })
  }
}
