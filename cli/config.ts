// everpost config: checks the settings and prints them, secrets masked.

import { stringify } from 'yaml'
import { readCertificates } from '../ingress/tls.ts'
import { merge } from '../settings/load.ts'
import { defaultSettings, differing } from '../settings/defaults.ts'
import type { Settings } from '../settings/schema.ts'
import { masked } from '../settings/secrets.ts'
import { loadHopOptions } from '../smtp/hop-options.ts'
import { connectionOptions } from '../worker/connection.ts'
import { loadContext } from './context.ts'

export function printConfig(file: string | undefined, options: { all?: boolean; json?: boolean }): void {
  const { settings, written } = loadContext(file)
  warn(settings)
  const chosen = masked(options.all ? merge(defaultSettings(), written) : differing(written)) as object
  if (options.json) console.log(JSON.stringify(chosen, null, 2))
  else console.log(Object.keys(chosen).length === 0 ? '# every setting has its default' : stringify(chosen, { flowCollectionPadding: true }).trimEnd())
}

/** What the schema cannot tell: files and variables, which may be there for other processes only, and what goes together though it makes no sense. */
function warn(settings: Settings): void {
  const { minimalBackoffTime, maximalBackoffTime } = settings.retry
  if (minimalBackoffTime > maximalBackoffTime) console.error('everpost: retry.minimalBackoffTime is longer than retry.maximalBackoffTime, so every pause is the latter')
  const unusable = (who: string, load: () => unknown) => {
    try {
      load()
    } catch (error) {
      console.error(`everpost: no ${who} will start here: ${(error as Error).message}`)
    }
  }
  unusable('worker', () => loadHopOptions(settings.routes))
  unusable('listener', () => readCertificates(settings))
  unusable('worker or ingress', () => connectionOptions(settings))
}
