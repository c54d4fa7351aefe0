// everpost token create, list, revoke: who may use the HTTP API, and for what.

import { createToken, listTokens, revokeToken, type TokenRow, type TokenScope } from '../store/tokens.ts'
import { loadContext, withDatabase } from './context.ts'
import { CommandError } from './errors.ts'
import { moment, table } from '../console/format.ts'
import { sysexits } from '../mail/sysexits.ts'

export async function makeToken(file: string | undefined, name: string, options: { scope: TokenScope[]; expires?: number }): Promise<void> {
  if (!/^[\w.@-]{1,100}$/.test(name)) throw new CommandError('a name has at most 100 letters, digits, and . _ @ -', sysexits.usage)
  const expiresAt = options.expires === undefined ? null : new Date(Date.now() + options.expires)
  const token = await withDatabase(loadContext(file).settings, (sql) => createToken(sql, name, options.scope, expiresAt))
  if (token === null) throw new CommandError(`there is a token ${name} already, perhaps a revoked one. Choose another name.`)
  console.log(token)
  console.error('Keep it: it is not shown again, and only its hash is stored.')
}

export async function printTokens(file: string | undefined, options: { json?: boolean }): Promise<void> {
  const rows = await withDatabase(loadContext(file).settings, listTokens)
  if (options.json) console.log(JSON.stringify(rows, null, 2))
  else if (rows.length === 0) console.log('There is no token, so the HTTP API is open to nobody.')
  else console.log(table([['NAME', 'SCOPES', 'STATE', 'CREATED', 'LAST USED'], ...rows.map(line)]))
}

function line(row: TokenRow): string[] {
  const expired = row.expiresAt !== null && row.expiresAt.getTime() <= Date.now()
  const state = row.revokedAt ? 'revoked' : expired ? 'expired' : row.expiresAt ? `until ${row.expiresAt.toISOString().slice(0, 16)}Z` : 'valid'
  return [row.name, row.scopes.join(','), state, moment(row.createdAt), row.usedAt ? moment(row.usedAt) : 'never']
}

export async function endToken(file: string | undefined, name: string): Promise<void> {
  if (!(await withDatabase(loadContext(file).settings, (sql) => revokeToken(sql, name)))) throw new CommandError(`no valid token is named ${name}`)
  console.log(`${name} is revoked.`)
}
