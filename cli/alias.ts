// everpost alias: addresses of local domains that stand for others, beside those of the settings. A change holds within seconds.

import { comparable, domainOf, parsePath } from '../mail/address.ts'
import { listAliases, removeAlias, setAlias } from '../store/aliases.ts'
import { loadContext, withDatabase } from './context.ts'
import { CommandError } from './errors.ts'
import { table } from '../console/format.ts'
import { sysexits } from '../mail/sysexits.ts'

export async function aliasSet(file: string | undefined, address: string, targets: string[]): Promise<void> {
  const { settings } = loadContext(file)
  for (const each of [address, ...targets]) {
    const path = parsePath(`<${each}>`)
    if ('problem' in path || domainOf(path.address) === '') throw new CommandError(`"${each}" is no address. Programs and files are not possible.`, sysexits.usage)
  }
  if (!Object.keys(settings.localDomains).some((domain) => domain === domainOf(address))) {
    throw new CommandError(`${domainOf(address)} is no local domain of the settings: mail for it would never be looked at here`)
  }
  await withDatabase(settings, (sql) => setAlias(sql, comparable(address), targets))
  console.log(`${comparable(address)} stands for ${targets.join(', ')}; ${followed}`)
}

export async function aliasRemove(file: string | undefined, address: string): Promise<void> {
  const removed = await withDatabase(loadContext(file).settings, (sql) => removeAlias(sql, comparable(address)))
  if (!removed) throw new CommandError(`there is no alias ${address} in the database. See: everpost alias list`)
  console.log(`removed ${address}; ${followed}`)
}

/** Every process keeps all aliases in memory, and looks every three seconds whether they have changed. */
const followed = 'processes that run follow within seconds'

export async function aliasList(file: string | undefined, options: { json?: boolean }): Promise<void> {
  const { settings } = loadContext(file)
  const aliases = [
    ...Object.entries(settings.aliases).map(([address, to]) => ({ address, targets: typeof to === 'string' ? [to] : to, from: 'settings' })),
    ...(await withDatabase(settings, listAliases)).map((row) => ({ ...row, from: 'database' })),
  ]
  if (options.json) console.log(JSON.stringify(aliases, null, 2))
  else if (aliases.length === 0) console.log('There are no aliases. Make one with: everpost alias set info@example.test alice@example.test')
  else console.log(table([['ADDRESS', 'FROM', 'STANDS FOR'], ...aliases.map(({ address, from, targets }) => [address, from, targets.join(' ')])]))
}
