// Who asks: bearer tokens (RFC 6750) and their scopes.

import type { Context, MiddlewareHandler } from 'hono'
import type { Sql } from '../store/database.ts'
import { findToken, type TokenScope } from '../store/tokens.ts'

export type ApiEnvironment = { Variables: { token: { name: string; scopes: TokenScope[] } } }

/** The token that a request brings; null: none that is valid now. */
export async function tokenOf(sql: Sql, context: Context): Promise<ApiEnvironment['Variables']['token'] | null> {
  const given = /^Bearer +([\w-]+)$/i.exec(context.req.header('authorization') ?? '')?.[1]
  return given === undefined ? null : await findToken(sql, given)
}

/** Lets only valid tokens pass. */
export function bearer(sql: Sql): MiddlewareHandler<ApiEnvironment> {
  return async (context, next) => {
    const token = await tokenOf(sql, context)
    if (!token) {
      context.header('www-authenticate', 'Bearer realm="everpost"')
      return context.json({ error: 'a valid bearer token is needed; make one with: everpost token create' }, 401)
    }
    context.set('token', token)
    return await next()
  }
}

export function needs(scope: TokenScope): MiddlewareHandler<ApiEnvironment> {
  return async (context: Context<ApiEnvironment>, next) => {
    if (context.get('token').scopes.includes(scope)) return await next()
    context.header('www-authenticate', `Bearer realm="everpost", error="insufficient_scope", scope="${scope}"`)
    return context.json({ error: `this token lacks the scope ${scope}` }, 403)
  }
}
