// resolveNextHop: sorts the recipients that are due into groups, one for each next hop of the routes or of an operator. Asked anew
// before each attempt, so that a mended route reaches mail that is already queued.

import { builtInProviders, destinationOf } from '../mail/destination.ts'
import type { Outcome } from '../mail/outcome.ts'
import type { Progress } from '../mail/progress.ts'
import { localNextHop, type NextHop, nextHopKey, nextHopOf, parseNextHop, routeOf } from '../mail/route.ts'
import { onDns } from '../mail/verdict.ts'
import type { LocalDomain } from '../settings/schema.ts'
import { resolveHosts } from '../smtp/hosts.ts'
import { type ClaimRequest, claimAttempt } from '../store/attempts.ts'
import { postgresTime } from '../store/clock.ts'
import { type DueRecipient, dueRecipients, finishMessage, readProgress } from '../store/recipients.ts'
import type { ActivityDeps } from './index.ts'
import { entryFor, putOff } from './attempt.ts'
import { record } from './record-attempt.ts'
import type { AttemptSummary, Group, LookArgument, MessageArgument, Plan } from './types.ts'

/** Recipients looked at in one plan, and next hops in it: bounds of its size in the history, and of its time. */
export const recipientsInPlan = 1000
const nextHopsInPlan = 20

type Route = Omit<Group, 'recipients' | 'hosts' | 'destination'> & { resolve: () => ReturnType<typeof resolveHosts>; name: (hosts: string[]) => string }

export async function resolveNextHop(deps: ActivityDeps, { id, clock, busy }: LookArgument): Promise<Plan> {
  const due = await dueRecipients(deps.sql, id, new Date(clock), busy, recipientsInPlan)
  const plan = await planFor(deps, { id, clock }, due, null)
  const planned = plan.groups.flatMap((group) => group.recipients)
  return { ...plan, progress: byClock(await progressOf(deps, id, [...busy, ...planned]), clock) }
}

/** A lease that runs still is not over by the workflow's clock, should that be ahead of Postgres': or the workflow would ask again at once, and again. */
function byClock(progress: Progress, clock: number): Progress {
  const { leasedUntil } = progress
  return { ...progress, leasedUntil: leasedUntil === null ? null : leasedUntil + Math.max(0, clock - postgresTime()) }
}

/** readProgress where nothing was attempted: a message of which nothing is open is finished, though whoever settled the last of it left it queued. */
export async function progressOf(deps: ActivityDeps, id: string, except: number[]): Promise<Progress> {
  const progress = await readProgress(deps.sql, id, except)
  if (progress.queued + progress.unreported === 0) await finishMessage(deps.sql, id, deps.settings.retention)
  return progress
}

/**
 * The groups of those who are due: one for each next hop by the routes, and for each that an operator chose. Those whom an operator or a
 * limit keeps waiting, and those without a host, are settled at once.
 */
export async function planFor(deps: ActivityDeps, { id, clock }: MessageArgument, due: DueRecipient[], trace: Buffer | null): Promise<Omit<Plan, 'progress'>> {
  const ways = new Map<string, { route: Route; recipients: number[] }>()
  let more = due.length === recipientsInPlan
  for (const { n, domain, route: override } of due) {
    const route = override === null ? routeFor(deps, domain) : { ...wireRoute(deps, parseNextHop(override), 'reroute it anew'), route: override }
    const way = override === null ? `by the routes: ${route.nextHop}${route.returnPath ? ', with Return-Path' : ''}` : `by an operator: ${override}`
    const known = ways.get(way)
    if (known) {
      known.recipients.push(n)
      if (!route.byDns) known.route = route // the operator's word goes over that of DNS
    }
    else if (ways.size < nextHopsInPlan) ways.set(way, { route, recipients: [n] })
    else more = true
  }

  const groups: Group[] = []
  const attempts: AttemptSummary[] = []
  await Promise.all([...ways.values()].map(async ({ route: { resolve, name, ...route }, recipients }) => {
    const found = await resolve()
    if (found.kind === 'hosts') {
      const most = route.agent === 'pipe' ? 1 : deps.settings.transfer.recipients
      const group: Group = { ...route, destination: name(found.hosts), hosts: found.hosts, recipients }
      // Looked at here as well, since a refusal costs the least before anything is scheduled.
      const refusal = await deps.gate.look(entryFor(id, group))
      if (refusal) await putOff(deps, { id, clock, group }, refusal)
      else for (let i = 0; i < recipients.length; i += most) groups.push({ ...group, recipients: recipients.slice(i, i + most) })
    } else {
      const attempt = await recordUnresolved(deps, { id, nextHop: route.nextHop, route: route.route, recipients, clock, trace }, found.outcome)
      if (attempt) attempts.push(attempt)
    }
  }))
  return { groups, more, attempts }
}

function routeFor(deps: ActivityDeps, domain: string): Route {
  const local = Object.hasOwn(deps.settings.localDomains, domain) ? deps.settings.localDomains[domain] : undefined
  if (local) return localRoute(domain, local)
  const rule = routeOf(domain, deps.settings.routes)
  return wireRoute(deps, nextHopOf(domain, deps.settings.routes), rule ? `mend the route for ${rule.domain} in the settings` : null)
}

/** `cure`: what an operator does if there is no such next hop; null when it is no operator's word. */
function wireRoute(deps: ActivityDeps, hop: NextHop, cure: string | null): Route {
  return {
    nextHop: nextHopKey(hop),
    agent: hop.protocol,
    port: hop.port,
    route: null,
    returnPath: false,
    ...(cure === null ? { byDns: true } : {}),
    async resolve() {
      const found = await resolveHosts(hop, deps.dns, { hostname: deps.settings.hostname })
      if (cure === null || found.kind === 'hosts' || found.outcome.status === 'deferred') return found
      return { kind: 'outcome', outcome: onDns.misrouted(found.outcome, cure) }
    },
    name: (hosts) => destinationOf(hop, hosts, [...deps.settings.destinations.providers, ...builtInProviders]),
  }
}

function localRoute(domain: string, local: LocalDomain): Route {
  const hosts = local.deliver === 'lmtp' ? [local.path ?? local.host!] : []
  const nextHop = localNextHop(domain, local)
  return {
    nextHop,
    agent: local.deliver,
    port: local.deliver === 'lmtp' ? (local.port ?? 0) : 0,
    route: null,
    returnPath: local.deliver === 'lmtp' && local.returnPath,
    resolve: async () => ({ kind: 'hosts', hosts }),
    name: () => nextHop,
  }
}

/** No host to go to: an attempt that ends here, with the same outcome for each of its recipients. */
async function recordUnresolved(
  deps: ActivityDeps, { clock, ...wanted }: Pick<ClaimRequest, 'id' | 'nextHop' | 'recipients' | 'route' | 'trace'> & { clock: number }, outcome: Outcome,
): Promise<AttemptSummary | null> {
  const { id, nextHop } = wanted
  const { lease } = deps.settings.worker
  const claim = await claimAttempt(deps.sql, { ...wanted, worker: deps.worker, lease, clock: new Date(clock), begunAt: new Date(postgresTime()), unclaimed: false, dot: null })
  if (!claim) return null
  const outcomes = Object.fromEntries(claim.recipients.map((recipient) => [recipient.n, outcome]))
  return (await record(deps, { id, nextHop, destination: nextHop, clock, claim, result: { outcomes, tries: [], dotSent: false } })).attempt
}
