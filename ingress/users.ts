// Who a name, or a name and its password, belong to, and whether they still do: users of the settings first, then those kept in Postgres.

import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import { findUser, type User as KnownUser } from '../store/users.ts'
import { nobodysHash, verifyPassword } from './password.ts'
import type { User } from './submission.ts'

/** Each throws when the database cannot be asked. */
export interface Users {
  /** Returns the user, or null when name and password do not go together. */
  authenticate(name: string, password: string): Promise<User | null>
  /** For a name that a trusted proxy vouches for. */
  find(name: string): Promise<User | null>
  /** The user as they are by now; null when they were removed, or have another password. */
  current(user: User): Promise<User | null>
}

/** Milliseconds after which whoever stays connected is looked up again. */
const fresh = 2000

export function createUsers(settings: Settings, sql: Sql): Users {
  const ofSettings = new Map(settings.users.map((user) => [user.name.toLowerCase(), user]))
  const known = async (name: string) => ofSettings.get(name.toLowerCase()) ?? await findUser(sql, name)
  return {
    async authenticate(name, password) {
      const user = await known(name)
      const right = await verifyPassword(password, user?.passwordHash ?? nobodysHash)
      return user && right ? seen(user) : null
    },
    async find(name) {
      const user = await known(name)
      return user && seen(user)
    },
    async current(user) {
      if (performance.now() - user.seen.at < fresh) return user
      const found = await known(user.name)
      // Every hash has a salt of its own: no password that was set anew has the old one.
      return found?.passwordHash === user.seen.passwordHash ? seen(found) : null
    },
  }
}

function seen({ name, addresses, passwordHash }: KnownUser): User {
  return { name, addresses, seen: { passwordHash, at: performance.now() } }
}
