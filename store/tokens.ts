// Bearer tokens of the HTTP API: the database keeps only their hashes.

import { createHash, randomBytes } from 'node:crypto'
import type { Sql } from './database.ts'

export const tokenScopes = ['submit', 'read', 'content', 'control', 'events', 'metrics'] as const
export type TokenScope = (typeof tokenScopes)[number]

export interface TokenRow {
  name: string
  scopes: TokenScope[]
  createdAt: Date
  expiresAt: Date | null
  revokedAt: Date | null
  usedAt: Date | null
}

const hashOf = (token: string) => createHash('sha256').update(token).digest()

/** Makes a token and returns it: it cannot be read again. Null when there is a token of that name already. */
export async function createToken(sql: Sql, name: string, scopes: TokenScope[], expiresAt: Date | null): Promise<string | null> {
  const token = `evp_${randomBytes(32).toString('base64url')}`
  const rows = await sql`
    insert into tokens (name, hash, scopes, expires_at) values (${name}, ${hashOf(token)}, ${scopes}, ${expiresAt}) on conflict do nothing returning name`
  return rows.length === 1 ? token : null
}

/** Whose token it is, while it is valid; notes the minute of its use. */
export async function findToken(sql: Sql, token: string): Promise<Pick<TokenRow, 'name' | 'scopes'> | null> {
  const [row] = await sql<(Pick<TokenRow, 'name' | 'scopes'> & { stale: boolean })[]>`
    select name, scopes, used_at is null or used_at < now() - interval '1 minute' as stale from tokens
    where hash = ${hashOf(token)} and revoked_at is null and (expires_at is null or expires_at > now())`
  if (row?.stale) await sql`update tokens set used_at = now() where name = ${row.name}`
  return row ?? null
}

export async function listTokens(sql: Sql): Promise<TokenRow[]> {
  return await sql<TokenRow[]>`
    select name, scopes, created_at as "createdAt", expires_at as "expiresAt", revoked_at as "revokedAt", used_at as "usedAt" from tokens order by name`
}

/** False when no valid token has that name. */
export async function revokeToken(sql: Sql, name: string): Promise<boolean> {
  const rows = await sql`update tokens set revoked_at = now() where name = ${name} and revoked_at is null returning name`
  return rows.length === 1
}
