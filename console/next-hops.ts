// Which queued domains go to a next hop by the settings: so that operators can choose mail by where it goes.

import { type Agent, localNextHop, nextHopKey, nextHopOf, parseNextHop, type RouteRule } from '../mail/route.ts'
import type { QueueFilter } from '../store/filter.ts'
import { openDomains } from '../store/filter.ts'
import type { Sql } from '../store/database.ts'

export interface Routing {
  routes: RouteRule[]
  localDomains: Record<string, Agent>
}

/** The filter for a next hop as logs and listings name it: `mx.example`, `[relay]:2525`, `maildir:example.test`. */
export async function byNextHop(sql: Sql, text: string, routing: Routing): Promise<QueueFilter['nextHop']> {
  const name = /^(maildir|pipe|lmtp):/.test(text) ? text : nextHopKey(parseNextHop(text))
  const domains = (await openDomains(sql)).filter((domain) => nextHopName(domain, routing) === name)
  return { name, domains }
}

function nextHopName(domain: string, { routes, localDomains }: Routing): string {
  const local = Object.hasOwn(localDomains, domain) ? localDomains[domain] : undefined
  if (local) return localNextHop(domain, local)
  return nextHopKey(nextHopOf(domain, routes))
}
