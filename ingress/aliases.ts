// The aliases of the settings and of Postgres, in memory: a recipient costs no statement. A change is seen within seconds.

import type { Logger } from 'pino'
import { comparable } from '../mail/address.ts'
import type { Settings } from '../settings/schema.ts'
import { aliasesVersion, listAliases } from '../store/aliases.ts'
import type { Sql } from '../store/database.ts'

export interface Aliases {
  /** What an address, in its comparable form, stands for; undefined: itself. The settings win. */
  get(address: string): string[] | undefined
  /** Whether those of Postgres were read: before that, nobody is unknown for good. */
  complete(): boolean
  stop(): Promise<void>
}

const looked = 3000 // milliseconds

/** Ready once reading them was tried; while the database is away, those read last hold. */
export async function keepAliases(settings: Settings, sql: Sql, log: Logger): Promise<Aliases> {
  const ofSettings = settingsAliases(settings)
  let kept = new Map<string, string[]>()
  let version: string | null = null
  let troubled = false
  let looking = look()
  await looking
  const timer = setInterval(() => { looking = look() }, looked)

  async function look(): Promise<void> {
    try {
      const found = await aliasesVersion(sql)
      if (found !== version) kept = await databaseAliases(sql)
      version = found
      troubled = false
    } catch (error) {
      if (!troubled) log.warn({ error: String(error) }, 'aliases not read: those known stay')
      troubled = true
    }
  }

  return {
    get: (address) => ofSettings.get(address) ?? kept.get(address),
    complete: () => version !== null,
    async stop() {
      clearInterval(timer)
      await looking
    },
  }
}

/** As they are now, for a command that ends at once; throws when they cannot be read. */
export async function readAliases(settings: Settings, sql: Sql): Promise<Pick<Aliases, 'get' | 'complete'>> {
  const ofSettings = settingsAliases(settings)
  const kept = await databaseAliases(sql)
  return { get: (address) => ofSettings.get(address) ?? kept.get(address), complete: () => true }
}

function settingsAliases({ aliases }: Settings): Map<string, string[]> {
  return new Map(Object.entries(aliases).map(([address, to]) => [comparable(address), typeof to === 'string' ? [to] : to]))
}

async function databaseAliases(sql: Sql): Promise<Map<string, string[]>> {
  return new Map((await listAliases(sql)).map(({ address, targets }) => [address, targets]))
}
