// Users: who may submit mail. Their names compare without case.

import type { Sql } from './database.ts'

export interface User {
  name: string
  passwordHash: string
  /** Reverse-paths that are theirs besides the name: addresses, or `@domain` for a whole domain. */
  addresses: string[]
}

export interface UserRow extends Omit<User, 'passwordHash'> {
  createdAt: Date
}

/** A name with a NUL, which Postgres cannot hold, is nobody's. */
export async function findUser(sql: Sql, name: string): Promise<User | null> {
  if (name.includes('\0')) return null
  const [row] = await sql<User[]>`
    select name, password_hash as "passwordHash", addresses from users where lower(name) = lower(${name})`
  return row ?? null
}

export async function listUsers(sql: Sql): Promise<UserRow[]> {
  return await sql<UserRow[]>`select name, addresses, created_at as "createdAt" from users order by lower(name)`
}

/** Returns false when there is one of this name already. */
export async function addUser(sql: Sql, name: string, passwordHash: string, addresses: string[]): Promise<boolean> {
  const rows = await sql`
    insert into users (name, password_hash, addresses) values (${name}, ${passwordHash}, ${addresses})
    on conflict (lower(name)) do nothing returning name`
  return rows.length === 1
}

/** Returns false when there is none of this name. */
export async function removeUser(sql: Sql, name: string): Promise<boolean> {
  const rows = await sql`delete from users where lower(name) = lower(${name}) returning name`
  return rows.length === 1
}

/** Returns false when there is none of this name. */
export async function changePassword(sql: Sql, name: string, passwordHash: string): Promise<boolean> {
  const rows = await sql`update users set password_hash = ${passwordHash} where lower(name) = lower(${name}) returning name`
  return rows.length === 1
}
