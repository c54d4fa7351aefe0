// everpost migrate: applies the migrations that are missing; every role does the same when it starts.

import { migrate } from '../store/migrate.ts'
import { loadContext, withDatabase } from './context.ts'

export async function runMigrate(file: string | undefined): Promise<void> {
  const { settings } = loadContext(file)
  const applied = await withDatabase(settings, migrate)
  console.log(applied.length === 0 ? 'The schema is up to date.' : `Applied ${applied.join(', ')}.`)
}
