// Who a name, or a name and its password, belong to: users of the settings first, then those kept in Postgres.

import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import { findUser } from '../store/users.ts'
import { nobodysHash, verifyPassword } from './password.ts'
import type { User } from './submission.ts'

/** Each throws when the database cannot be asked. */
export interface Users {
  /** Returns the user, or null when name and password do not go together. */
  authenticate(name: string, password: string): Promise<User | null>
  /** For a name that a trusted proxy vouches for. */
  find(name: string): Promise<User | null>
}

export function createUsers(settings: Settings, sql: Sql): Users {
  const ofSettings = new Map(settings.users.map((user) => [user.name.toLowerCase(), user]))
  const known = async (name: string) => ofSettings.get(name.toLowerCase()) ?? await findUser(sql, name)
  return {
    async authenticate(name, password) {
      const user = await known(name)
      const right = await verifyPassword(password, user?.passwordHash ?? nobodysHash)
      return user && right ? { name: user.name, addresses: user.addresses } : null
    },
    async find(name) {
      const user = await known(name)
      return user && { name: user.name, addresses: user.addresses }
    },
  }
}
