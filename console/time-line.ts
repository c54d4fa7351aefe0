// The time line of a message: attempts, reports and what operators did, in words, for the command line and the page.

import { formatReply } from '../mail/reply.ts'
import type { ActionRow } from '../store/actions.ts'
import type { AttemptRow } from '../store/attempts.ts'
import type { MessageView } from '../store/view.ts'
import { span } from './format.ts'

export interface Entry {
  at: Date
  /** What happened, then its details. */
  lines: string[]
}

/** Oldest first. */
export function timeLine({ attempts, reports, actions, recipients }: Pick<MessageView, 'attempts' | 'reports' | 'actions' | 'recipients'>): Entry[] {
  const paths = new Map(recipients.map(({ n, forwardPath }) => [n, forwardPath]))
  return [
    ...attempts.map((attempt) => ({ at: attempt.begunAt, lines: describeAttempt(attempt, paths) })),
    ...reports.map((report) => ({ at: report.acceptedAt, lines: [`report sent as ${report.id}`] })),
    ...actions.map((action) => ({ at: action.at, lines: [describeAction(action)] })),
  ].sort((a, b) => a.at.getTime() - b.at.getTime())
}

function describeAction({ action, who, why, detail }: ActionRow): string {
  const to = detail.to ? `to ${detail.to}` : action === 'reroute' || detail.nextHop ? `to ${detail.nextHop ?? 'where the settings and DNS say'}` : ''
  const lifetime = detail.lifetime === undefined ? '' : `to ${span(detail.lifetime)}`
  const paths = detail.recipients?.length ? ` (${detail.recipients.slice(0, 5).join(', ')}${detail.recipients.length > 5 ? ', …' : ''})` : ''
  return `${[action, to, lifetime].filter(Boolean).join(' ')} by ${who}${paths}${why ? `: ${why}` : ''}`
}

/** `paths`: of the recipients that are shown, which may not be all. */
function describeAttempt(attempt: AttemptRow, paths: Map<number, string>): string[] {
  const state = attempt.lost
    ? `lost with its worker${attempt.dotAt ? ' after the final dot: delivery unknown' : ''}`
    : attempt.endedAt ? '' : 'under way'
  const tries = attempt.tries.map((tried) => {
    const tls = tried.tls ? `, ${tried.tls.version} ${tried.tls.cipher}${tried.tls.verified ? ', verified' : ''}` : ''
    const where = tried.phase === 'local' ? tried.host : `${tried.host}[${tried.address ?? 'no address'}]${tried.port === 0 ? '' : `:${tried.port}`}`
    const from = tried.from ? ` from ${tried.from}` : ''
    return `tried ${where}${from}${tls}, ${tried.took} ms${tried.problem ? `: ${tried.problem}` : ''}`
  })
  const outcomes = Object.entries(attempt.outcomes).map(([n, outcome]) =>
    `${paths.get(Number(n)) ?? `recipient ${n}`}: ${outcome.status} ${outcome.enhanced} ${outcome.reply ? formatReply(outcome.reply) : outcome.text}`)
  return [`attempt ${attempt.number} to ${attempt.nextHop} ${state}`.trimEnd(), ...tries, ...outcomes]
}
