// The report on some recipients of a message, as a message to be accepted: who is told, of what, and how much goes back.

import { randomBytes } from 'node:crypto'
import { comparable, domainOf } from '../mail/address.ts'
import { composeReport, type ReportEvent, type ReportRecipient } from '../mail/dsn.ts'
import type { ShorterReport } from '../mail/dsn-shorter.ts'
import type { Notify } from '../mail/envelope.ts'
import { grouped } from '../mail/grouped.ts'
import { makeQueueId } from '../mail/queue-id.ts'
import { textsFor } from '../mail/report-texts.ts'
import type { MessageRow } from '../store/messages.ts'
import type { NewReport, ReportedRow } from '../store/reports.ts'
import type { ActivityDeps } from './index.ts'

export interface ReportOn {
  event: ReportEvent
  message: MessageRow
  /** Its header section. */
  original: Uint8Array
  recipients: ReportedRow[]
  at: Date
  /** Where the message itself is a report that returns a whole one: the same with its header fields alone. */
  shorter: ShorterReport | null
}

const asked: Record<ReportEvent, Notify> = { failed: 'FAILURE', delayed: 'DELAY', succeeded: 'SUCCESS' }

/** RFC 3461 section 4.1: failures and delays are reported unless NOTIFY says otherwise, successes only if it asks for them. */
export function wants({ notify }: Pick<ReportedRow, 'notify'>, event: ReportEvent): boolean {
  return notify.length === 0 ? event !== 'succeeded' : notify.includes(asked[event])
}

/** Of one that has failed: whether its time was over, by the queue lifetime or by a rule, rather than that it was refused for good. */
export function hasExpired({ state, outcome }: Pick<ReportedRow, 'state' | 'outcome'>): boolean {
  return state === 'queued' || outcome?.givenUp === true
}

/**
 * One for each reverse-path; none when nobody is to be told. A report is never sent about a report (RFC 5321 section 6.1): failures of mail with the null
 * reverse-path go to the postmaster, where the settings name one, and nowhere if that very mail was on its way there.
 * An address of ours gets it as it would get any mail: by its aliases. What returned more than a host takes is no report on a report: it goes out
 * again, shorter.
 */
export function makeReports(deps: ActivityDeps, on: ReportOn): NewReport[] {
  const tooMuch = on.event === 'failed' && on.shorter ? on.recipients.filter(({ outcome }) => outcome && refusesContent.includes(outcome.enhanced)) : []
  if (tooMuch.length > 0) {
    const others = on.recipients.filter((recipient) => !tooMuch.includes(recipient))
    return [sendShorter(deps, on.message, on.shorter!, tooMuch), ...makeReports(deps, { ...on, recipients: others })]
  }
  const wanted = on.recipients.filter((recipient) => wants(recipient, on.event))
  // VERP: who keeps the list reads from the address alone whom a report is about.
  const byPath = grouped(wanted, ({ verp }) => verp ?? on.message.reversePath)
  return [...byPath].flatMap(([reversePath, recipients]) => makeReport(deps, { ...on, message: { ...on.message, reversePath }, recipients }) ?? [])
}

function makeReport(deps: ActivityDeps, on: ReportOn): NewReport | null {
  const { event, message, at } = on
  const { hostname, reports, retry } = deps.settings
  const toPostmaster = message.reversePath === ''
  if (toPostmaster && (event !== 'failed' || reports.postmaster === '' || isOneOf(on.recipients, behind(deps, reports.postmaster)))) return null
  const recipients = on.recipients.map((recipient) => reportOn(deps, recipient, on))
  const dsnId = makeQueueId(Date.now(), randomBytes(8))
  const to = toPostmaster ? reports.postmaster : message.reversePath
  const whole = returnsWhole(deps, on)
  const { head, tail, body, smtpUtf8 } = composeReport({
    event, toPostmaster, id: message.id, dsnId, hostname, to, envid: message.envid, arrivedAt: message.acceptedAt, triedUntil: latest(recipients) ?? message.expiresAt, at,
    receivedFrom: message.origin.helo || null, recipients, original: on.original, full: whole ? { eightBit: message.bodyType !== '7BIT' } : null,
    smtpUtf8: message.smtpUtf8, texts: textsFor(reports.language, reports.texts),
  })
  const trace = whole ? (message.trace ?? Buffer.alloc(0)) : Buffer.alloc(0)
  return {
    head: Buffer.concat([head, trace]),
    tail,
    whole,
    toPostmaster,
    recipients: on.recipients.map(({ n }) => n),
    message: {
      id: dsnId,
      kind: 'dsn',
      parent: message.id,
      envelope: {
        reversePath: '', recipients: behind(deps, to).map((forwardPath, n) => ({ n, forwardPath, notify: [], orcpt: null })),
        body, smtpUtf8, requireTls: message.requireTls, ret: null, envid: null,
      },
      origin: { protocol: '', helo: '', clientAddress: '', clientName: null, tls: null, user: null },
      size: head.length + trace.length + (whole ? message.size : 0) + tail.length,
      lifetime: retry.bounceQueueLifetime,
    },
  }
}

/** RFC 3463: too big for the host, too big for the mailbox, conversion needed and not to be had. */
const refusesContent = ['5.3.4', '5.2.3', '5.6.3']

function sendShorter(deps: ActivityDeps, { parent, requireTls, origin }: MessageRow, { head, body, smtpUtf8 }: ShorterReport, recipients: ReportedRow[]): NewReport {
  return {
    head,
    tail: Buffer.alloc(0),
    whole: false,
    toPostmaster: false,
    recipients: recipients.map(({ n }) => n),
    message: {
      id: makeQueueId(Date.now(), randomBytes(8)),
      kind: 'dsn',
      parent,
      envelope: {
        reversePath: '', recipients: recipients.map(({ forwardPath }, n) => ({ n, forwardPath, notify: [], orcpt: null })),
        body, smtpUtf8, requireTls, ret: null, envid: null,
      },
      origin,
      size: head.length,
      lifetime: deps.settings.retry.bounceQueueLifetime,
    },
  }
}

/** Of what is delayed: the last of it is given up then. */
function latest(recipients: ReportRecipient[]): Date | null {
  const times = recipients.flatMap(({ willRetryUntil }) => willRetryUntil?.getTime() ?? [])
  return times.length === 0 ? null : new Date(Math.max(...times))
}

/** The address itself where nobody is behind it: then the delivery agent says so, and the failure stays as a dead letter. */
function behind({ names }: ActivityDeps, address: string): string[] {
  const found = names.find(address)
  return 'addresses' in found ? found.addresses : [address]
}

function isOneOf(recipients: ReportedRow[], addresses: string[]): boolean {
  const known = new Set(addresses.map(comparable))
  return recipients.some(({ forwardPath }) => known.has(comparable(forwardPath)))
}

/** RET (RFC 3461 section 4.3) speaks of failures; other reports return the header fields. What is large is never returned whole. */
function returnsWhole(deps: ActivityDeps, { event, message }: ReportOn): boolean {
  const { returned, returnedSize } = deps.settings.reports
  const full = message.ret === null ? returned === 'full' : message.ret === 'FULL'
  return event === 'failed' && full && message.bodyType !== 'BINARYMIME' && message.size <= returnedSize
}

function reportOn(deps: ActivityDeps, recipient: ReportedRow, { event, message }: ReportOn): ReportRecipient {
  const { forwardPath, orcpt, outcome, lastAttemptAt } = recipient
  const expired = event === 'failed' && hasExpired(recipient)
  const isLocal = Object.hasOwn(deps.settings.localDomains, domainOf(forwardPath))
  return {
    forwardPath,
    orcpt,
    action: event === 'succeeded' ? (outcome?.phase === 'queue' ? 'expanded' : isLocal ? 'delivered' : 'relayed') : event,
    // RFC 3463 section 3.5, X.4.7: the time allowed is over, which is no failure of the address; the cause is in the diagnostic code.
    status: expired ? '4.4.7' : (outcome?.enhanced ?? (event === 'delayed' ? '4.0.0' : '5.0.0')),
    expired,
    reply: outcome?.reply ?? null,
    remoteHost: outcome?.host ?? null,
    text: outcome?.text ?? recipient.waits ?? 'no attempt could be made',
    lastAttemptAt,
    willRetryUntil: event === 'delayed' ? triedUntil(recipient, message) : null,
  }
}

/** The end of the queue lifetime, or when a rule gives this recipient up. */
function triedUntil({ givesUpAt }: ReportedRow, { expiresAt }: MessageRow): Date {
  return givesUpAt && givesUpAt < expiresAt ? givesUpAt : expiresAt
}
