// One visit to one address of a host: a connection that waited or a new one, and as many transactions as its limits ask for.

import { domainOf } from '../mail/address.ts'
import type { Recipient } from '../mail/envelope.ts'
import type { HostTry, Outcome } from '../mail/outcome.ts'
import { brokenOff, local } from '../mail/verdict.ts'
import { limitOf, type Pool, settle } from './pool.ts'
import { leave, openSession, type Session } from './session.ts'
import { sourceFor } from './source.ts'
import { agreeTerms, type Terms, unsayable } from './terms.ts'
import type { HostTls } from './tls.ts'
import { runTransaction, type TransactionResult } from './transaction.ts'
import type { TransferRequest } from './transfer.ts'

export interface Visit {
  /** One for each recipient. */
  outcomes: Map<number, Outcome>
  tried: HostTry
  /** Recipients whose outcome speaks of what this host cannot do: another one may. */
  elsewhere: Set<number>
  /** TLS came to nothing, and the policy allows another try in the clear. */
  inClear: boolean
}

/** Recipients of one transaction, whatever the host allows: the replies to them all may wait in memory at once. */
const mostRecipients = 500

/** Throws what `beforeDot`, `partly` and `content` throw. There is at least one recipient. */
export async function visit(request: TransferRequest, host: string, address: string, tls: HostTls, recipients: Recipient[], pool: Pool): Promise<Visit> {
  const begun = performance.now()
  const { context: _, ...tlsKey } = tls // its id stands for it
  const from = sourceFor(request.source, address)
  const key = JSON.stringify([request.protocol, host, address, request.port, from ?? '', request.helo, tlsKey, request.auth?.id ?? ''])
  const tried: HostTry = {
    host, address, port: request.port, at: new Date().toISOString(), took: 0, tls: null, phase: 'connect', dotSent: false, problem: null,
    ...(from ? { from } : {}),
  }
  const outcomes = new Map<number, Outcome>()
  const elsewhere = new Set<number>()
  let session = pool.take(key)
  let waited = session !== null
  if (waited) tried.reused = true
  let terms: Terms | null = null // of this session
  let left = recipients

  try {
    for (;;) {
      if (!session) {
        const opened = await openSession({ ...request, host, address, from, tls })
        if (opened.kind === 'failed') {
          const outcome = request.signal.aborted ? brokenOff('broken off before the final dot') : withoutTls(request, opened)
          tried.tls = outcome.tls
          tried.phase = opened.phase
          if (outcome.status === 'bounced') leaveToOthers(left)
          return end(outcome, opened.phase === 'tls' && mayGoInClear(request, tls))
        }
        session = opened.session
      }
      tried.tls = session.peer.tls
      if (!terms) {
        const agreed = await agreeTerms(request, session.extensions)
        const impossible = left.map((recipient) => [recipient, 'status' in agreed ? agreed : unsayable(recipient, agreed)] as const).filter(([, outcome]) => outcome)
        for (const [{ n }, outcome] of impossible) outcomes.set(n, { ...outcome!, ...session.peer })
        leaveToOthers(impossible.map(([recipient]) => recipient))
        left = left.filter(({ n }) => !elsewhere.has(n))
        if ('status' in agreed || left.length === 0) {
          tried.phase = 'mail'
          pool.give(key, session)
          return end(null)
        }
        terms = agreed
      }
      const batch = batchOf(left, session)
      const done: TransactionResult = await runTransaction(waited ? impatient(request) : request, session, terms, batch)
      if ((waited || session.transactions > 1) && done.cutOff) {
        // The host has closed it, forgotten it, or had enough of it, and no dot was sent. A new one, and this time it counts.
        leave(session.connection)
        session = terms = null
        if (waited) delete tried.reused
        waited = false
        continue
      }
      waited = false
      for (const [n, outcome] of done.outcomes) outcomes.set(n, outcome)
      tried.phase = done.phase
      tried.dotSent ||= done.dotSent
      left = [...done.surplus, ...left.slice(batch.length)]
      if (left.length > 0 && mayGoOn(done)) {
        await request.partly(outcomes)
        session = await readyAgain(session, done)
        if (!session) terms = null
      } else {
        release(session, done)
        return end(restOf(done, session))
      }
    }
  } catch (error) {
    session?.connection.abort('broken off')
    throw error
  }

  function leaveToOthers(those: Recipient[]): void {
    for (const { n } of those) elsewhere.add(n)
  }

  /** `rest` is the outcome of the recipients that have none. */
  function end(rest: Outcome | null, inClear = false): Visit {
    if (rest) for (const { n } of left) if (!outcomes.has(n)) outcomes.set(n, rest)
    tried.took = Math.round(performance.now() - begun)
    tried.problem = [...outcomes.values()].find((outcome) => outcome.status !== 'delivered')?.text ?? null
    return { outcomes, tried, elsewhere, inClear }
  }

  function release(session: Session, { state, owed }: TransactionResult): void {
    if (state === 'clean') pool.give(key, session)
    else if (state === 'unsettled') pool.reset(key, session, owed)
    else session.connection.close()
  }

  /** The session when it can take the next transaction, else null. */
  async function readyAgain(session: Session, { state, owed }: TransactionResult): Promise<Session | null> {
    const isReady = session.transactions < limitOf(session.extensions, 'MAILMAX') && (state === 'clean' || (await settle(session, owed)))
    if (isReady) return session
    session.connection.close()
    return null
  }
}

/** A connection that had waited may be dead without a sign: its MAIL is not waited for as long as the RFC asks, since a new one is. */
function impatient(request: TransferRequest): TransferRequest {
  return { ...request, timeouts: { ...request.timeouts, mail: Math.min(request.timeouts.mail, 30_000) } }
}

/** As many as go into one transaction (RFC 9422: RCPTMAX, RCPTDOMAINMAX), in their order; at least one, since no limit is 0. */
function batchOf(left: Recipient[], { extensions }: Session): Recipient[] {
  const domains = new Set<string>()
  const mostDomains = limitOf(extensions, 'RCPTDOMAINMAX')
  const end = left.findIndex(({ forwardPath }, i) => i >= Math.min(mostRecipients, limitOf(extensions, 'RCPTMAX')) || domains.add(domainOf(forwardPath)).size > mostDomains)
  return end < 0 ? left : left.slice(0, end)
}

/** What becomes of recipients whose turn did not come: what ended the transaction before, if it speaks of them too; never a delivery. */
function restOf({ ending, phase }: TransactionResult, { peer }: Session): Outcome {
  if (ending && (ending.status === 'deferred' || phase === 'mail')) return ending
  return { ...local('deferred', '4.4.2', `host ${peer.host}[${peer.address}]: not tried, since the transaction before was the last one there`, 'rcpt'), ...peer }
}

/** Whether a further transaction makes sense: not where the sender was refused, or the host puts everything off. */
function mayGoOn({ state, phase, outcomes }: TransactionResult): boolean {
  if (state === 'broken') return false
  return phase === 'rcpt' || (phase === 'dot' && [...outcomes.values()].some((outcome) => outcome.phase === 'dot' && outcome.status !== 'deferred'))
}

/** Not where a secret that needs TLS is to be shown first: what went wrong with TLS is then the reason. */
function mayGoInClear({ auth }: TransferRequest, { level }: HostTls): boolean {
  return level === 'may' && (auth === null || auth.clearText)
}

/** RFC 8689 section 4.2.1: without TLS that can be trusted a message that asks for REQUIRETLS goes back. */
function withoutTls({ envelope, protocol }: TransferRequest, opened: { outcome: Outcome; noTls: boolean }): Outcome {
  if (!envelope.requireTls || protocol !== 'smtp' || !opened.noTls) return opened.outcome
  const { host, address, tls } = opened.outcome
  return { ...local('bounced', '5.7.30', `the message asks for REQUIRETLS: ${opened.outcome.text}`, 'tls'), host, address, tls }
}
