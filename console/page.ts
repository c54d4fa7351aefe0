// The page for people, at `/`: the queue, a message with its time line, what operators do to it, and the destinations.

import type { OpenAPIHono } from '@hono/zod-openapi'
import { html } from 'hono/html'
import { canonicalDomain } from '../mail/address.ts'
import { controlActions, type ControlAction, faultOf, refusalOf } from '../mail/control.ts'
import { postgresTime } from '../store/clock.ts'
import { canonicalName, readDestinations, releaseWaiting, resumeDestination, suspendByWord } from '../store/destinations.ts'
import { summariseDestinations } from '../store/destination-traffic.ts'
import { type QueueFilter, type QueueStatus, queueStatuses } from '../store/filter.ts'
import { listQueue, type QueueOrder, queueOrders } from '../store/queue.ts'
import { replayMessage } from '../store/replay.ts'
import { readView } from '../store/view.ts'
import type { ApiDeps } from './api.ts'
import type { ApiEnvironment } from './auth.ts'
import { controlOne } from './control.ts'
import { address, moment } from './format.ts'
import { choice, field, layout, queueTable, recipientTable, timeLineList } from './page-parts.ts'
import { guarded, loggedIn, sessionRoutes } from './page-session.ts'
import { timeLine } from './time-line.ts'

const pageSize = 50
const hour = 3_600_000

export function pageRoutes(app: OpenAPIHono<ApiEnvironment>, deps: Pick<ApiDeps, 'sql' | 'wake' | 'lifetimeOf' | 'retention' | 'resumeOver'>): void {
  const { sql } = deps
  for (const path of ['/', '/login', '/logout', '/messages/*', '/destinations']) app.use(path, ...guarded)
  sessionRoutes(app, sql)
  const [reads, controls] = [loggedIn(sql, 'read'), loggedIn(sql, 'control')]

  app.get('/', reads, async (context) => {
    const { sender, recipient, user, client, domain, reply, status, sort, page } = context.req.query()
    const filter: QueueFilter = {
      sender: sender || undefined, recipient: recipient || undefined, user: user || undefined, client: client || undefined, reply: reply || undefined,
      domain: domain ? canonicalDomain(domain) : undefined,
      status: queueStatuses.find((known) => known === status) as QueueStatus | undefined,
    }
    const order = queueOrders.find((known) => known === sort) ?? 'age'
    const number = Math.min(Math.max(Math.trunc(Number(page)) || 1, 1), 100_000)
    const rows = await listQueue(sql, { filter, order, limit: pageSize + 1, offset: (number - 1) * pageSize })
    const to = (wanted: number) => `/?${new URLSearchParams({ ...context.req.query(), page: String(wanted) })}`
    return context.html(layout('Queue', context.get('token').name, html`
      <form class="row">${field('sender', 'Sender', sender)}${field('recipient', 'Recipient', recipient)}
        ${field('user', 'User', user)}${field('client', 'Client', client)}${field('domain', 'Domain', domain)}${field('reply', 'Reply holds', reply)}
        ${choice('status', 'Status', ['any', ...queueStatuses], status ?? 'any')}${choice('sort', 'Order', queueOrders satisfies QueueOrder[], order)}<button>Show</button></form>
      ${queueTable(rows.slice(0, pageSize))}
      <p>${number > 1 ? html`<a href="${to(number - 1)}">Back</a>` : ''} ${rows.length > pageSize ? html`<a href="${to(number + 1)}">More</a>` : ''}</p>`))
  })

  app.get('/messages/:id', reads, async (context) => {
    const view = await readView(sql, context.req.param('id'))
    const { name, scopes } = context.get('token')
    if (!view) return context.html(layout('No such message', name, html`<p>Nothing is known of it.</p>`), 404)
    const { message, recipients, next } = view
    const possible = controlActions.filter((action) => faultOf({ state: message.state, held: message.heldAt !== null }, action) === null)
    const failed = recipients.some(({ state }) => state === 'bounced' || state === 'expired')
    const buttons = (actions: readonly string[]) => actions.map((action) => html`<button name="action" value="${action}">${action}</button> `)
    const form = scopes.includes('control') ? html`
      <form method="post" action="/messages/${message.id}/actions" class="row">${field('why', 'Why', '', 30)}${field('to', 'Reroute to', '', 20)}${field('hours', 'Lifetime in hours', '', 6)}
        <span>${buttons(possible)}${failed ? buttons(['replay']) : ''}</span></form>` : ''
    return context.html(layout(message.id, name, html`
      <dl><dt>From<dd>${address(message.reversePath)}, ${message.size} octets<dt>Accepted<dd>${moment(message.acceptedAt)}
        <dt>${message.finishedAt ? 'Finished' : 'Expires'}<dd>${moment(message.finishedAt ?? message.expiresAt)}
        <dt>Next<dd>${next ? `${next.what}${next.at ? ` ${moment(next.at)}` : ''}` : 'nothing: all is settled'}</dl>
      ${form}${recipientTable(recipients)}<h2>Time line</h2>${timeLineList(timeLine(view))}`, context.req.query('told')))
  })

  app.post('/messages/:id/actions', controls, async (context) => {
    const id = context.req.param('id')
    const body = await context.req.parseBody()
    const text = (name: string) => String(body[name] ?? '').trim()
    const told = await act(id, text('action'), `token:${context.get('token').name}`, text)
    return context.redirect(`/messages/${encodeURIComponent(id)}?${new URLSearchParams({ told })}`, 303)
  })

  async function act(id: string, action: string, who: string, text: (name: string) => string): Promise<string> {
    const view = await readView(sql, id)
    if (!view) return 'There is no such message.'
    const why = text('why')
    if (action === 'replay') {
      const lifetime = deps.lifetimeOf(view.message.reversePath, view.message.origin.user)
      const recipients = await replayMessage(sql, { id, given: true, who, why, lifetime, retention: deps.retention })
      if (recipients.length > 0) deps.wake(id)
      return recipients.length > 0 ? `Queued again: ${recipients.join(', ')}` : 'Nothing to replay: nobody failed, or the body is no longer kept.'
    }
    const request = {
      action: action as ControlAction, who, why,
      ...(action === 'reroute' ? { nextHop: text('to') === 'none' ? null : text('to') } : {}),
      ...(action === 'set-lifetime' ? { lifetime: Math.round(Number(text('hours')) * hour) } : {}),
    }
    const fault = refusalOf(request)
    if (fault) return `Refused: ${fault}`
    const result = await controlOne(deps, id, request)
    if (!('refused' in result)) deps.wake(id)
    return 'refused' in result ? `Refused: ${result.refused}` : `Done: ${action}${result.busy.length > 0 ? `; left alone, since the reply is awaited: ${result.busy.join(', ')}` : ''}`
  }

  app.get('/destinations', reads, async (context) => {
    const [rows, set] = await Promise.all([summariseDestinations(sql), readDestinations(sql)])
    const byName = new Map(set.map((row) => [row.name, row]))
    const names = [...new Set([...rows.map(({ name }) => name), ...byName.keys()])].sort()
    const { name: who, scopes } = context.get('token')
    return context.html(layout('Destinations', who, html`
      <table><thead><tr><th>Destination<th>Queued<th>Delivered<br>this hour and<br>the one before<th>Deferred<th>Bounced<th>State<th></tr></thead><tbody>${names.map((name) => {
        const [row, known] = [rows.find((each) => each.name === name), byName.get(name)]
        const suspended = known?.suspendedUntil && known.suspendedUntil.getTime() > postgresTime()
        const state = suspended ? `suspended until ${moment(known.suspendedUntil!)} by ${[known.suspendedBy, known.suspendedWhy].filter(Boolean).join(': ')}`
          : known?.circuitUntil ? `only probed: ${known.circuitWhy}` : ''
        const resume = suspended || known?.circuitUntil ? html`<button name="action" value="resume">resume</button>` : ''
        const suspend = suspended ? '' : html`<button name="action" value="suspend">suspend for an hour</button>`
        const form = html`<form method="post" action="/destinations"><input type="hidden" name="name" value="${name}">${resume}${suspend}</form>`
        const outcomes = [row?.delivered, row?.deferred, row?.bounced].map((count) => html`<td>${count ?? 0}`)
        return html`<tr><td class="text">${name}<td>${row?.queued ?? 0}${outcomes}<td class="text">${state}<td>${scopes.includes('control') ? form : ''}</tr>`
      })}</tbody></table>`))
  })

  app.post('/destinations', controls, async (context) => {
    const body = await context.req.parseBody()
    const { name, known } = await canonicalName(sql, String(body['name'] ?? ''))
    const who = `token:${context.get('token').name}`
    if (known && body['action'] === 'suspend') await suspendByWord(sql, name, { time: hour, who, why: '', spread: deps.resumeOver })
    if (known && body['action'] === 'resume') {
      await resumeDestination(sql, name, who)
      await releaseWaiting(sql, name, deps.resumeOver)
    }
    return context.redirect('/destinations', 303)
  })
}
