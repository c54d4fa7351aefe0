// everpost config: checks the settings and prints them, secrets masked.

import { stringify } from 'yaml'
import { merge } from '../settings/load.ts'
import { defaultSettings, differing } from '../settings/defaults.ts'
import type { Settings } from '../settings/schema.ts'
import { loadHopOptions, RouteError } from '../smtp/hop-options.ts'
import { loadContext } from './context.ts'

export function printConfig(file: string | undefined, options: { all?: boolean; json?: boolean }): void {
  const { settings, written } = loadContext(file)
  warnOfRoutes(settings)
  const chosen = masked(options.all ? merge(defaultSettings(), written) : differing(written))
  if (options.json) console.log(JSON.stringify(chosen, null, 2))
  else console.log(Object.keys(chosen).length === 0 ? '# every setting has its default' : stringify(chosen, { flowCollectionPadding: true }).trimEnd())
}

/** A file or variable that a route names may be there for the workers only. */
function warnOfRoutes(settings: Settings): void {
  try {
    loadHopOptions(settings.routes)
  } catch (error) {
    if (!(error instanceof RouteError)) throw error
    console.error(`everpost: no worker will start here: ${error.message}`)
  }
}

/** Passwords inside connection strings, password hashes, and the secrets of webhooks: hidden. */
function masked(settings: Record<string, unknown>): Record<string, unknown> {
  const text = JSON.stringify(settings)
    .replace(/(:\/\/[^:/@"]+:)[^@"]+@/g, '$1***@')
    .replace(/("passwordHash":"scrypt\$)[^"]*/g, '$1***')
    .replace(/("secret":")[^"]*/g, '$1***')
  return JSON.parse(text) as Record<string, unknown>
}
