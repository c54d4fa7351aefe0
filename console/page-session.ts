// Who looks at the page: a bearer token of the API, kept by the browser in a cookie that no script can read and no other site sends.

import type { Context, MiddlewareHandler } from 'hono'
import type { OpenAPIHono } from '@hono/zod-openapi'
import { bodyLimit } from 'hono/body-limit'
import { deleteCookie, getCookie, setCookie } from 'hono/cookie'
import { csrf } from 'hono/csrf'
import { html } from 'hono/html'
import { secureHeaders } from 'hono/secure-headers'
import type { Sql } from '../store/database.ts'
import { findToken, type TokenScope } from '../store/tokens.ts'
import type { ApiEnvironment } from './auth.ts'
import { layout } from './page-parts.ts'

const cookie = 'everpost'
const kept = 12 * 3600 // seconds

/** For every path of the page: nothing from elsewhere is loaded, nobody frames it, and no other site posts to it. */
export const guarded: MiddlewareHandler<ApiEnvironment>[] = [
  secureHeaders({ contentSecurityPolicy: { defaultSrc: ["'none'"], styleSrc: ["'unsafe-inline'"], formAction: ["'self'"], frameAncestors: ["'none'"], baseUri: ["'none'"] } }),
  csrf(),
  bodyLimit({ maxSize: 64 * 1024 }),
]

/** Lets whoever has logged in with a token of this scope pass; asks the others to log in. */
export function loggedIn(sql: Sql, scope: TokenScope): MiddlewareHandler<ApiEnvironment> {
  return async (context, next) => {
    const given = getCookie(context, cookie) ?? ''
    const token = /^[\w-]+$/.test(given) ? await findToken(sql, given) : null
    if (!token) return context.redirect('/login', 303)
    if (!token.scopes.includes(scope)) return context.html(layout('Not allowed', token.name, html`<p>This token lacks the scope ${scope}.</p>`), 403)
    context.set('token', token)
    context.header('cache-control', 'no-store')
    return await next()
  }
}

export function sessionRoutes(app: OpenAPIHono<ApiEnvironment>, sql: Sql): void {
  app.get('/login', (context) => context.html(form()))

  app.post('/login', async (context) => {
    const given = String((await context.req.parseBody())['token'] ?? '').trim()
    const token = /^[\w-]+$/.test(given) ? await findToken(sql, given) : null
    if (!token) return context.html(form('This token is not valid.'), 403)
    setCookie(context, cookie, given, { httpOnly: true, sameSite: 'Strict', path: '/', maxAge: kept, secure: isSecure(context) })
    return context.redirect('/', 303)
  })

  app.post('/logout', (context) => {
    deleteCookie(context, cookie, { path: '/' })
    return context.redirect('/login', 303)
  })
}

/** TLS here, or at the proxy in front. */
function isSecure(context: Context): boolean {
  return new URL(context.req.url).protocol === 'https:' || context.req.header('x-forwarded-proto') === 'https'
}

function form(told?: string) {
  return layout('Log in', null, html`
    <form method="post" action="/login" class="row"><label>Token<br><input name="token" type="password" size="50" autocomplete="current-password" autofocus></label><button>Log in</button></form>
    <p>A token with the scope read shows the queue; one with control acts on it: <code>everpost token create me --scope read control</code></p>`, told)
}
