// The verdict on a run: what the client was told, against what came out and what the records say. Pure.

import { grouped } from '../../mail/grouped.ts'
import type { LedgerEntry } from './client.ts'
import { markOf, planOf } from './plan.ts'
import type { Taking } from './sink.ts'

export interface RecipientRecord {
  id: string
  n: number
  forwardPath: string
  state: 'queued' | 'delivered' | 'bouncing' | 'bounced' | 'expired'
  deadLetter: boolean
  /** The message that it is a recipient of is a report on this one. */
  parent: string | null
}

export interface AttemptRecord {
  id: string
  number: number
  recipients: number[]
  dotSent: boolean
  /** Recipients for which a reply, or a local verdict, is recorded. */
  replied: number[]
  /** Ended without outcomes by a worker that was alive: whatever it knew is no excuse for a duplicate. */
  givenUp: boolean
}

export interface Evidence {
  seed: number
  ledger: LedgerEntry[]
  takings: Taking[]
  /** Local part of each Maildir, and the contents of its files. */
  maildirs: Map<string, string[]>
  recipients: RecipientRecord[]
  attempts: AttemptRecord[]
}

export interface Verdict {
  /** Messages by what the client was told. */
  told: Record<LedgerEntry['result'], number>
  /** Recipients of accepted messages by what became of them. */
  outcomes: { delivered: number; reported: number; deadLetters: number; queued: number }
  lost: string[]
  deliveredAndBounced: string[]
  deliveredThoughRefused: string[]
  corrupt: string[]
  /** The client was told for good what was only so for the moment: every message of the plan is to be taken. */
  refusedForGood: string[]
  /** Messages of which the client does not know, that were taken over all the same: no fault of anyone (RFC 1047). */
  unknownTaken: number
  /** More takings than one, each matched by an attempt whose dot was sent and whose reply was not recorded: the worker died, or the line. */
  duplicates: string[]
  /** How many of these, by what the attempts that sent the dot say. */
  duplicatesBy: Record<string, number>
  unattributed: string[]
}

export function judge(evidence: Evidence): Verdict {
  const { seed, ledger, maildirs } = evidence
  const verdict: Verdict = {
    told: { accepted: 0, refused: 0, unknown: 0, absent: 0 }, outcomes: { delivered: 0, reported: 0, deadLetters: 0, queued: 0 },
    lost: [], deliveredAndBounced: [], deliveredThoughRefused: [], corrupt: [], refusedForGood: [], unknownTaken: 0, duplicates: [], duplicatesBy: {}, unattributed: [],
  }
  const takings = grouped(evidence.takings.flatMap(({ id, recipients }) => recipients.map((to) => `${id} ${to}`)), (key) => key)
  const records = grouped(evidence.recipients, ({ id }) => id)
  const attempts = grouped(evidence.attempts, ({ id }) => id)
  const idsByMark = grouped([
    ...evidence.recipients.filter(({ parent }) => parent === null).map(({ id, forwardPath }) => ({ id, mark: markOf(forwardPath)! })),
    ...evidence.takings.filter(({ failed }) => failed === null).map(({ id, recipients }) => ({ id, mark: markOf(recipients[0]!)! })),
  ], ({ mark }) => mark)
  const reports = grouped(evidence.recipients.filter(({ parent }) => parent !== null), ({ parent }) => parent!)
  const reportsTaken = grouped(evidence.takings.filter(({ failed }) => failed !== null), ({ id }) => id)

  for (const { i, result, reply } of ledger) {
    verdict.told[result]++
    if (reply.startsWith('5')) verdict.refusedForGood.push(`message ${i}: ${reply}`)
    const ids = [...new Set(idsByMark.get(String(i))?.map(({ id }) => id))]
    if (result === 'accepted') {
      const id = /queued as (\w+)/.exec(reply)![1]!
      for (const other of ids.filter((each) => each !== id)) verdict.unattributed.push(`message ${i} is here as ${other}, too`)
      for (const [n, to] of planOf(seed, i).recipients.entries()) judgeRecipient(id, n, to)
    } else if (result === 'unknown') {
      if (ids.length > 0) verdict.unknownTaken++
      if (ids.length > 1) verdict.unattributed.push(`message ${i} is here ${ids.length} times`)
    } else if (ids.length > 0) verdict.deliveredThoughRefused.push(`message ${i}: ${result} (${reply}), yet here as ${ids}`)
  }
  for (const taking of evidence.takings) if (taking.corrupt) verdict.corrupt.push(`${taking.id} to ${taking.recipients}`)
  for (const [key, list] of takings) if (list.length > 1) judgeDuplicate(key, list.length)
  for (const [to, mails] of maildirs) {
    if (mails.length > 1) verdict.unattributed.push(`the Maildir of ${to} has it ${mails.length} times`)
    const body = planOf(seed, Number(markOf(`${to}@`))).body.toString('latin1').replaceAll('\r\n', '\n')
    if (!mails.every((mail) => mail.endsWith(`\n${body}`))) verdict.corrupt.push(`in the Maildir of ${to}`)
  }
  return verdict

  function judgeRecipient(id: string, n: number, to: string): void {
    const record = records.get(id)?.find((each) => each.n === n)
    const taken = (takings.get(`${id} ${to}`)?.length ?? 0) + (maildirs.get(to.split('@')[0]!)?.length ?? 0)
    const telling = (reports.get(id) ?? []).map((report) => report.id).filter((report) => reportsTaken.get(report)?.some((taking) => taking.failed!.includes(to)))
    if (telling.length > 1) verdict.unattributed.push(`${id} to ${to} was reported ${telling.length} times: ${telling}`)
    if (taken > 0 && (telling.length > 0 || ['bounced', 'expired'].includes(record?.state ?? ''))) verdict.deliveredAndBounced.push(`${id} to ${to}`)
    if (taken > 0) verdict.outcomes.delivered++
    else if (telling.length > 0) verdict.outcomes.reported++
    else if (record?.deadLetter) verdict.outcomes.deadLetters++
    else if (record && (['queued', 'bouncing'].includes(record.state) || waiting(id))) verdict.outcomes.queued++
    else verdict.lost.push(`${id} to ${to}: ${record ? `the record says ${record.state}` : 'no record'}`)
  }

  /** Whether a report on the message is itself safely queued. */
  function waiting(id: string): boolean {
    return (reports.get(id) ?? []).some((report) => records.get(report.id)!.some((record) => ['queued', 'bouncing'].includes(record.state)))
  }

  function judgeDuplicate(key: string, count: number): void {
    const [id, to] = key.split(' ') as [string, string]
    const n = records.get(id)?.find((record) => record.forwardPath === to)?.n ?? -1
    const dots = (attempts.get(id) ?? []).filter((attempt) => attempt.dotSent && attempt.recipients.includes(n))
    const open = dots.filter((attempt) => !attempt.givenUp && !attempt.replied.includes(n))
    const told = dots.map((attempt) => ({ number: attempt.number, says: attempt.replied.includes(n) ? 'replied' : attempt.givenUp ? 'given up' : 'no reply' }))
    const line = `${id} to ${to}: taken ${count} times; attempts that sent the dot: ${told.map(({ number, says }) => `${number} ${says}`).join(', ') || 'none'}`
    const attributed = count - 1 <= open.length
    verdict[attributed ? 'duplicates' : 'unattributed'].push(line)
    if (!attributed) return
    const said = [...grouped(told, ({ says }) => says)].map(([says, { length }]) => `${length} ${says}`).sort().join(', ')
    const by = `taken ${count} times: ${said}`
    verdict.duplicatesBy[by] = (verdict.duplicatesBy[by] ?? 0) + 1
  }
}

/** Whether the promise was kept. What is still queued is no loss, but a drain that did not end is a stall. */
export function kept(verdict: Verdict): boolean {
  const faults = [verdict.lost, verdict.deliveredAndBounced, verdict.deliveredThoughRefused, verdict.corrupt, verdict.refusedForGood, verdict.unattributed]
  return faults.every((list) => list.length === 0) && verdict.outcomes.queued === 0
}
