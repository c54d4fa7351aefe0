// The pieces that the page for people is made of. All text passes through `html`, which escapes it.

import { html } from 'hono/html'
import { originalOf } from '../mail/expand.ts'
import { postgresTime } from '../store/clock.ts'
import type { QueueRow } from '../store/queue.ts'
import type { RecipientRow } from '../store/recipients.ts'
import { moment, sentBy, span, stamp, whenNext, whom } from './format.ts'
import type { Entry } from './time-line.ts'

export type Html = ReturnType<typeof html>

const style = `
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { max-width: 75rem; margin: 0 auto; padding: 0 1rem 3rem }
header { display: flex; gap: 1.5rem; align-items: baseline; border-bottom: 1px solid #8886; margin-bottom: 1rem; padding: .5rem 0 }
header form { margin-left: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid #8883 }
td.text { overflow-wrap: anywhere }
.id, time { font-family: ui-monospace, monospace; white-space: nowrap }
form.row { display: flex; flex-wrap: wrap; gap: .5rem; margin: .8rem 0; align-items: end }
.told { border-left: 4px solid #48c; padding: .3rem .8rem; background: #48c2 }
dt { font-weight: 600 } dd { margin: 0 0 .4rem }
ol { list-style: none; padding: 0 } li { margin: .4rem 0 } li div { margin-left: 1.5rem; overflow-wrap: anywhere; opacity: .8 }
@media (max-width: 45rem) { table { display: block; overflow-x: auto } td.text { min-width: 10rem } }`

/** `who`: whose token it is; null before the login. */
export function layout(title: string, who: string | null, body: Html, told?: string): Html {
  const menu = who === null ? '' : html`
    <a href="/">Queue</a> <a href="/destinations">Destinations</a>
    <form method="post" action="/logout">${who} <button>Log out</button></form>`
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title} - Everpost</title><style>${style}</style></head>
<body><header><strong>Everpost</strong> ${menu}</header><h1>${title}</h1>${told ? html`<p class="told" role="status">${told}</p>` : ''}${body}</body></html>`
}

export function field(name: string, label: string, value = '', size = 16): Html {
  return html`<label>${label}<br><input name="${name}" value="${value}" size="${size}"></label>`
}

export function choice(name: string, label: string, values: readonly string[], chosen: string): Html {
  return html`<label>${label}<br><select name="${name}">${values.map((value) => html`<option ${value === chosen ? 'selected' : ''}>${value}</option>`)}</select></label>`
}

export function queueTable(rows: QueueRow[]): Html {
  if (rows.length === 0) return html`<p>Nothing that is queued matches.</p>`
  return html`<table><thead><tr><th>Id<th>Age<th>From<th>To<th>Next<th>Last reply</tr></thead><tbody>${rows.map((row) => html`
    <tr><td class="id"><a href="/messages/${row.id}">${row.id}</a><td>${span(postgresTime() - row.acceptedAt.getTime())}<td class="text">${sentBy(row)}
    <td class="text">${whom(row)}<td>${whenNext(row, postgresTime())}
    <td class="text">${row.waits ?? row.outcome?.text ?? ''}</tr>`)}</tbody></table>`
}

export function recipientTable(recipients: RecipientRow[]): Html {
  return html`<table><thead><tr><th>Recipient<th>State<th>Last reply</tr></thead><tbody>${recipients.map(recipientLine)}</tbody></table>`
}

function recipientLine(recipient: RecipientRow): Html {
  const { forwardPath, state, outcome, nextAttemptAt, waits } = recipient
  const original = originalOf(recipient)
  const shown = state === 'queued' && outcome ? `deferred, again ${moment(nextAttemptAt)}` : state
  return html`<tr><td class="text">${forwardPath}${original === null ? '' : ` (for ${original})`}<td>${shown}<td class="text">${outcome?.text ?? ''} ${waits ?? ''}</tr>`
}

export function timeLineList(entries: Entry[]): Html {
  if (entries.length === 0) return html`<p>No attempt yet.</p>`
  return html`<ol>${entries.map(({ at, lines: [first, ...more] }) => html`
    <li><time>${stamp(at)}</time> ${first}${more.map((line) => html`<div>${line}</div>`)}</li>`)}</ol>`
}
