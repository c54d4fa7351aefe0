// everpost user: who may submit mail, beside the users of the settings. Kept in Postgres, so that a change holds everywhere: at once for whoever
// authenticates, within two seconds for who is connected.

import { hashPassword } from '../ingress/password.ts'
import { addUser, changePassword, listUsers, removeUser } from '../store/users.ts'
import { loadContext, withDatabase } from './context.ts'
import { CommandError } from './errors.ts'
import { readPassword } from './password.ts'
import { moment, table } from '../console/format.ts'
import { sysexits } from '../mail/sysexits.ts'

export async function userAdd(file: string | undefined, name: string, options: { address?: string[] }): Promise<void> {
  const { settings } = loadContext(file)
  if (!/^[^\s\p{Cc}]{1,255}$/u.test(name)) throw new CommandError(`"${name}" is no user name. Use an address, such as alice@example.test.`, sysexits.usage)
  const addresses = options.address ?? []
  const wrong = addresses.find((address) => !/^[^\s@]*@[^\s@]+$/.test(address))
  if (wrong !== undefined) throw new CommandError(`--address ${wrong}: write an address, or @example.test for a whole domain`, sysexits.usage)
  if (settings.users.some((user) => user.name.toLowerCase() === name.toLowerCase())) {
    throw new CommandError(`${name} is a user of the settings, which would win. Take it out of users there first.`)
  }
  const hash = await newHash()
  const added = await withDatabase(settings, (sql) => addUser(sql, name, hash, addresses))
  if (!added) throw new CommandError(`there is a user ${name} already. Change its password with: everpost user passwd ${name}`)
  console.log(`added ${name}`)
}

export async function userRemove(file: string | undefined, name: string): Promise<void> {
  const removed = await withDatabase(loadContext(file).settings, (sql) => removeUser(sql, name))
  if (!removed) throw unknownUser(name)
  console.log(`removed ${name}`)
}

export async function userPasswd(file: string | undefined, name: string): Promise<void> {
  const hash = await newHash()
  const changed = await withDatabase(loadContext(file).settings, (sql) => changePassword(sql, name, hash))
  if (!changed) throw unknownUser(name)
  console.log(`changed the password of ${name}`)
}

export async function userList(file: string | undefined, options: { json?: boolean }): Promise<void> {
  const { settings } = loadContext(file)
  const kept = await withDatabase(settings, listUsers)
  const users = [
    ...settings.users.map(({ name, addresses }) => ({ name, addresses, from: 'settings', createdAt: null })),
    ...kept.map(({ name, addresses, createdAt }) => ({ name, addresses, from: 'database', createdAt })),
  ]
  if (options.json) console.log(JSON.stringify(users, null, 2))
  else if (users.length === 0) console.log('There are no users. Add one with: everpost user add alice@example.test')
  else console.log(table([['NAME', 'FROM', 'CREATED', 'ADDRESSES'],
    ...users.map(({ name, from, createdAt, addresses }) => [name, from, createdAt ? moment(createdAt) : '', addresses.join(' ')])]))
}

/** Of the password in EVERPOST_PASSWORD, else of one that is typed or piped in. */
async function newHash(): Promise<string> {
  return await hashPassword(process.env['EVERPOST_PASSWORD'] || (await readPassword()))
}

function unknownUser(name: string): CommandError {
  return new CommandError(`there is no user ${name} in the database. See: everpost user list`)
}
