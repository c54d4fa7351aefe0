// everpost show: one message, with its time line.

import { type Entry, timeLine } from '../console/time-line.ts'
import { originalOf } from '../mail/expand.ts'
import type { RecipientRow } from '../store/recipients.ts'
import { type MessageView, readView } from '../store/view.ts'
import { loadContext, withDatabase } from './context.ts'
import { noMessage } from './errors.ts'
import { address, moment, stamp } from '../console/format.ts'

export async function show(file: string | undefined, id: string, options: { json?: boolean }): Promise<void> {
  const { settings } = loadContext(file)
  const view = await withDatabase(settings, (sql) => readView(sql, id))
  if (!view) throw noMessage(id)
  console.log(options.json ? JSON.stringify(view, null, 2) : describe(view))
}

function describe(view: MessageView): string {
  const { message, recipients, next } = view
  const { origin } = message
  const source = origin.protocol === ''
    ? `made here${message.parent ? `, about ${message.parent}` : ''}`
    : `${origin.clientAddress} (${origin.clientName ?? 'unknown'}), HELO ${origin.helo}, ${origin.protocol}${origin.user ? `, user ${origin.user}` : ''}`
  const text = [
    `Message     ${message.id}  ${message.state}`,
    `From        ${address(message.reversePath)}`,
    `Received    ${moment(message.acceptedAt)} from ${source}`,
    `Size        ${message.size} octets`,
    message.finishedAt ? `Finished    ${moment(message.finishedAt)}` : `Expires     ${moment(message.expiresAt)}`,
    `Next        ${next ? `${next.what}${next.at ? ` ${moment(next.at)}` : ''}` : 'nothing: all is settled'}`,
    '',
    'Recipients',
    ...recipients.flatMap(describeRecipient),
    '',
    'Time line',
    ...lines(timeLine(view)),
  ]
  return text.join('\n')
}

function describeRecipient(recipient: RecipientRow): string[] {
  const { forwardPath, state, outcome, deadLetter } = recipient
  const when = state === 'queued' && outcome ? `, again ${moment(recipient.nextAttemptAt)}` : ''
  const until = state === 'queued' && recipient.givesUpAt ? `, given up ${moment(recipient.givesUpAt)} by a retry rule` : ''
  const how = deadLetter ? ', a dead letter: nobody could be told' : ''
  const original = originalOf(recipient)
  const first = `  ${forwardPath}${original === null ? '' : ` (for ${original})`}  ${state === 'queued' && outcome ? 'deferred' : state}${when}${until}${how}`
  return [first, ...(outcome ? [`    ${outcome.text}`] : []), ...(recipient.waits ? [`    ${recipient.waits}`] : [])]
}

function lines(entries: Entry[]): string[] {
  if (entries.length === 0) return ['  no attempt yet']
  return entries.flatMap(({ at, lines: [first, ...more] }) => [`  ${stamp(at)}  ${first}`, ...more.map((line) => `    ${line}`)])
}
