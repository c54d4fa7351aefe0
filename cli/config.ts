// everpost config: checks the settings and prints them, secrets masked.

import { stringify } from 'yaml'
import { readCertificates } from '../ingress/tls.ts'
import { merge } from '../settings/load.ts'
import { defaultSettings, differing } from '../settings/defaults.ts'
import type { Settings } from '../settings/schema.ts'
import { masked } from '../settings/secrets.ts'
import { checkSources, loadHopOptions } from '../smtp/hop-options.ts'
import { connectionOptions } from '../worker/connection.ts'
import { loadContext } from './context.ts'

export async function printConfig(file: string | undefined, options: { all?: boolean; json?: boolean }): Promise<void> {
  const { settings, written } = loadContext(file)
  await warn(settings)
  const chosen = masked(options.all ? merge(defaultSettings(), written) : differing(written)) as object
  if (options.json) console.log(JSON.stringify(chosen, null, 2))
  else console.log(Object.keys(chosen).length === 0 ? '# every setting has its default' : stringify(chosen, { flowCollectionPadding: true }).trimEnd())
}

/** What the schema cannot tell: files, variables and addresses, which may be there for other processes only, and what goes together though it makes no sense. */
async function warn(settings: Settings): Promise<void> {
  const { minimalBackoffTime, maximalBackoffTime } = settings.retry
  if (minimalBackoffTime > maximalBackoffTime) console.error('everpost: retry.minimalBackoffTime is longer than retry.maximalBackoffTime, so every pause is the latter')
  const unusable = async (who: string, load: () => unknown) => {
    try {
      await load()
    } catch (error) {
      console.error(`everpost: no ${who} will start here: ${(error as Error).message}`)
    }
  }
  await unusable('worker', () => loadHopOptions(settings.routes))
  await unusable('worker', () => checkSources(settings.routes, settings.transfer.source))
  await unusable('listener', () => readCertificates(settings))
  await unusable('worker or ingress', () => connectionOptions(settings))
}
