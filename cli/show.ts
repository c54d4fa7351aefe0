// everpost show: one message, with its time line.

import { formatReply } from '../mail/reply.ts'
import type { ActionRow } from '../store/actions.ts'
import type { AttemptRow } from '../store/attempts.ts'
import type { RecipientRow } from '../store/recipients.ts'
import { type MessageView, readView } from '../store/view.ts'
import { loadContext, withDatabase } from './context.ts'
import { CommandError } from './errors.ts'
import { address, moment, span } from './format.ts'

export async function show(file: string | undefined, id: string, options: { json?: boolean }): Promise<void> {
  const { settings } = loadContext(file)
  const view = await withDatabase(settings, (sql) => readView(sql, id))
  if (!view) throw new CommandError(`there is no message ${id}. everpost queue lists what is queued.`)
  console.log(options.json ? JSON.stringify(view, null, 2) : describe(view))
}

function describe({ message, recipients, attempts, reports, actions, next }: MessageView): string {
  const { origin } = message
  const source = origin.protocol === ''
    ? `made here${message.parent ? `, about ${message.parent}` : ''}`
    : `${origin.clientAddress} (${origin.clientName ?? 'unknown'}), HELO ${origin.helo}, ${origin.protocol}${origin.user ? `, user ${origin.user}` : ''}`
  const lines = [
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
    ...timeLine(attempts, reports, actions),
  ]
  return lines.join('\n')
}

function describeRecipient(recipient: RecipientRow): string[] {
  const { forwardPath, state, outcome, deadLetter } = recipient
  const when = state === 'queued' && outcome ? `, again ${moment(recipient.nextAttemptAt)}` : ''
  const how = deadLetter ? ', a dead letter: nobody could be told' : ''
  return [`  ${forwardPath}  ${state === 'queued' && outcome ? 'deferred' : state}${when}${how}`, ...(outcome ? [`    ${outcome.text}`] : []), ...(recipient.waits ? [`    ${recipient.waits}`] : [])]
}

function timeLine(attempts: AttemptRow[], reports: MessageView['reports'], actions: ActionRow[]): string[] {
  const entries = [
    ...attempts.map((attempt) => ({ at: attempt.begunAt, lines: describeAttempt(attempt) })),
    ...reports.map((report) => ({ at: report.acceptedAt, lines: [`report sent as ${report.id}`] })),
    ...actions.map((action) => ({ at: action.at, lines: [describeAction(action)] })),
  ].sort((a, b) => a.at.getTime() - b.at.getTime())
  if (entries.length === 0) return ['  no attempt yet']
  return entries.flatMap(({ at, lines }) => [`  ${at.toISOString().replace('T', ' ').slice(0, 19)}Z  ${lines[0]}`, ...lines.slice(1).map((line) => `    ${line}`)])
}

function describeAction({ action, who, why, detail }: ActionRow): string {
  const to = detail.to ? `to ${detail.to}` : action === 'reroute' || detail.nextHop ? `to ${detail.nextHop ?? 'where the settings and DNS say'}` : ''
  const lifetime = detail.lifetime === undefined ? '' : `to ${span(detail.lifetime)}`
  const paths = detail.recipients?.length ? ` (${detail.recipients.slice(0, 5).join(', ')}${detail.recipients.length > 5 ? ', …' : ''})` : ''
  return `${[action, to, lifetime].filter(Boolean).join(' ')} by ${who}${paths}${why ? `: ${why}` : ''}`
}

function describeAttempt(attempt: AttemptRow): string[] {
  const state = attempt.lost
    ? `lost with its worker${attempt.dotAt ? ' after the final dot: delivery unknown' : ''}`
    : attempt.endedAt ? '' : 'under way'
  const tries = attempt.tries.map((tried) => {
    const tls = tried.tls ? `, ${tried.tls.version} ${tried.tls.cipher}${tried.tls.verified ? ', verified' : ''}` : ''
    const where = tried.phase === 'local' ? tried.host : `${tried.host}[${tried.address ?? 'no address'}]:${tried.port}`
    return `tried ${where}${tls}, ${tried.took} ms${tried.problem ? `: ${tried.problem}` : ''}`
  })
  const outcomes = Object.entries(attempt.outcomes).map(([n, outcome]) =>
    `recipient ${n}: ${outcome.status} ${outcome.enhanced} ${outcome.reply ? formatReply(outcome.reply) : outcome.text}`)
  return [`attempt ${attempt.number} to ${attempt.nextHop} ${state}`.trimEnd(), ...tries, ...outcomes]
}
