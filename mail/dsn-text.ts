// The part of a report that people read: what happened, to whom, why, and what to do, from the texts of a language.

import type { Report, ReportRecipient } from './dsn.ts'
import { printable } from './reply.ts'
import type { ReportTexts } from './report-texts.ts'
import { dateTime } from './trace.ts'

/** Lines of at most 72 columns where blanks allow, with CRLF. */
export function explanation(report: Report): string {
  const { texts, event, toPostmaster } = report
  const fill = (text: string) => filled(text, report)
  const opening = toPostmaster ? texts.postmaster : { failed: texts.failed, delayed: texts.delayed, succeeded: texts.succeeded }[event]
  return [
    ...wrapped(fill(opening)),
    '',
    ...report.recipients.flatMap((recipient) => [
      `<${printable(recipient.forwardPath)}>`, ...reason(recipient, report, fill).flatMap((line) => wrapped(line, '    ')), '',
    ]),
    ...wrapped(fill(texts.help)),
    '',
  ].join('\r\n')
}

function reason(recipient: ReportRecipient, { texts, event, toPostmaster }: Report, fill: (text: string) => string): string[] {
  if (recipient.action === 'delivered') return [texts.deliveredLine]
  if (recipient.action === 'relayed') return [texts.relayedLine]
  if (recipient.action === 'expanded') return [texts.expandedLine]
  const advice = event === 'failed' && !toPostmaster ? adviceFor(recipient, texts) : null
  return [...(recipient.expired ? [fill(texts.expired)] : []), printable(recipient.text), ...(advice ? [advice] : [])]
}

/** The advice whose key is the longest beginning of the code, by whole numbers: 5.1 fits 5.1.3, not 5.10. */
function adviceFor({ status, reply }: ReportRecipient, { advice, returnedHere }: ReportTexts): string | null {
  const numbers = status.split('.')
  for (let length = numbers.length; length > 0; length--) {
    const key = numbers.slice(0, length).join('.')
    // All that a code of class 5 alone says is that another system refused. Without a reply none did.
    if (key === '5' && reply === null) return returnedHere
    if (advice[key]) return advice[key]
  }
  return null
}

function filled(text: string, { hostname, id, arrivedAt, triedUntil, at }: Report): string {
  const values: Record<string, string> = { hostname, id, arrived: dateTime(arrivedAt), until: dateTime(triedUntil), lifetime: span(at.getTime() - arrivedAt.getTime()) }
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole)
}

/** Language-neutral: 5 d, 4 h, 30 min, 10 s. */
function span(milliseconds: number): string {
  const [size, unit] = ([[86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min']] as const).find(([size]) => milliseconds >= size * 0.95) ?? [1000, 's']
  return `${Math.max(1, Math.round(milliseconds / size))} ${unit}`
}

function wrapped(text: string, indent = ''): string[] {
  const lines: string[] = []
  let line = indent
  for (const word of text.split(/\s+/)) {
    if (line.length > indent.length && line.length + word.length >= 72) {
      lines.push(line)
      line = indent
    }
    line += `${line.length > indent.length ? ' ' : ''}${word}`
  }
  return [...lines, line]
}
