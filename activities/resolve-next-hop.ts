// resolveNextHop: sorts the recipients that are due into groups, one for each next hop. Asked anew before each attempt, so
// that a mended route reaches mail that is already queued.

import { type NextHop, nextHopKey, nextHopOf, parseNextHop } from '../mail/route.ts'
import type { Outcome } from '../mail/outcome.ts'
import type { LocalDomain } from '../settings/schema.ts'
import { resolveHosts } from '../smtp/hosts.ts'
import { claimAttempt } from '../store/attempts.ts'
import { dueRecipients, readProgress } from '../store/recipients.ts'
import type { ActivityDeps } from './index.ts'
import { record } from './attempt.ts'
import type { AttemptSummary, Group, MessageArgument, Plan } from './types.ts'

/** Recipients looked at in one plan, and next hops in it: bounds of its size in the history, and of its time. */
const recipientsInPlan = 1000
const nextHopsInPlan = 20

type Destination = Omit<Group, 'recipients' | 'hosts'> & { resolve: () => ReturnType<typeof resolveHosts> }

export async function resolveNextHop(deps: ActivityDeps, { id, clock, busy }: MessageArgument & { busy: number[] }): Promise<Plan> {
  const due = await dueRecipients(deps.sql, id, new Date(clock), busy, recipientsInPlan)
  const byNextHop = new Map<string, { destination: Destination; recipients: number[] }>()
  let more = due.length === recipientsInPlan
  for (const { n, domain, route } of due) {
    const destination = route === null ? destinationOf(deps, domain) : smtpDestination(deps, parseNextHop(route))
    const known = byNextHop.get(destination.nextHop)
    if (known) known.recipients.push(n)
    else if (byNextHop.size < nextHopsInPlan) byNextHop.set(destination.nextHop, { destination, recipients: [n] })
    else more = true
  }

  const groups: Group[] = []
  const attempts: AttemptSummary[] = []
  await Promise.all([...byNextHop.values()].map(async ({ destination: { resolve, ...destination }, recipients }) => {
    const found = await resolve()
    if (found.kind === 'hosts') {
      const most = destination.agent === 'pipe' ? 1 : deps.settings.transfer.recipients
      for (let i = 0; i < recipients.length; i += most) {
        groups.push({ ...destination, hosts: found.hosts, recipients: recipients.slice(i, i + most) })
      }
    } else {
      const attempt = await recordUnresolved(deps, id, clock, destination.nextHop, recipients, found.outcome)
      if (attempt) attempts.push(attempt)
    }
  }))
  const planned = groups.flatMap((group) => group.recipients)
  return { groups, more, attempts, progress: await readProgress(deps.sql, id, [...busy, ...planned]) }
}

function destinationOf(deps: ActivityDeps, domain: string): Destination {
  const local = Object.hasOwn(deps.settings.localDomains, domain) ? deps.settings.localDomains[domain] : undefined
  if (local) return localDestination(domain, local)
  return smtpDestination(deps, nextHopOf(domain, deps.settings.routes))
}

function smtpDestination(deps: ActivityDeps, hop: NextHop): Destination {
  return {
    nextHop: nextHopKey(hop),
    agent: 'smtp',
    port: hop.port,
    returnPath: false,
    resolve: () => resolveHosts(hop, deps.dns, { hostname: deps.settings.hostname }),
  }
}

function localDestination(domain: string, local: LocalDomain): Destination {
  const hosts = local.deliver === 'lmtp' ? [local.host] : []
  return {
    nextHop: local.deliver === 'lmtp' ? `lmtp:[${local.host}]:${local.port}` : `${local.deliver}:${domain}`,
    agent: local.deliver,
    port: local.deliver === 'lmtp' ? local.port : 0,
    returnPath: local.deliver === 'lmtp' && local.returnPath,
    resolve: async () => ({ kind: 'hosts', hosts }),
  }
}

/** No host to go to: an attempt that ends here, with the same outcome for each of its recipients. */
async function recordUnresolved(
  deps: ActivityDeps, id: string, clock: number, nextHop: string, recipients: number[], outcome: Outcome,
): Promise<AttemptSummary | null> {
  const { lease } = deps.settings.worker
  const claim = await claimAttempt(deps.sql, { id, nextHop, recipients, worker: deps.worker, lease, clock: new Date(clock) })
  if (!claim) return null
  const outcomes = Object.fromEntries(claim.recipients.map((recipient) => [recipient.n, outcome]))
  return (await record(deps, { id, nextHop, clock, claim, result: { outcomes, tries: [], dotSent: false } })).attempt
}
