// Who a name and password belong to: users of the settings first, then those kept in Postgres.

import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import { findUser } from '../store/users.ts'
import { nobodysHash, verifyPassword } from './password.ts'
import type { User } from './submission.ts'

/** Returns the user, or null when name and password do not go together. Throws when the database cannot be asked. */
export function authenticator(settings: Settings, sql: Sql): (name: string, password: string) => Promise<User | null> {
  const ofSettings = new Map(settings.users.map((user) => [user.name.toLowerCase(), user]))
  return async (name, password) => {
    const user = ofSettings.get(name.toLowerCase()) ?? await findUser(sql, name)
    const right = await verifyPassword(password, user?.passwordHash ?? nobodysHash)
    return user && right ? { name: user.name, addresses: user.addresses } : null
  }
}
