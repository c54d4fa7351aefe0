// Who is behind a forward-path: local users, aliases, catch-alls and what we relay; or the refusal. No open relay: without AUTH
// or a trusted network only our own domains are taken.

import { canonicalDomain, comparable, domainOf, splitAddress, unquotedLocalPart, withoutTag } from '../mail/address.ts'
import type { Settings } from '../settings/schema.ts'
import type { Aliases } from './aliases.ts'
import { type Reply, reply } from './reply.ts'

/** Addresses that take its place, the forward-path itself when it is nobody's alias; or why nobody is there. */
export type Found = { addresses: string[] } | { refused: Reply }

export interface Recipients {
  find(forwardPath: string, mayRelay: boolean): Promise<Found>
}

/** Asks the LMTP server of a local domain; null: it takes the recipient. */
export type Callout = (server: { host: string; port: number }, forwardPath: string) => Promise<Reply | null>

/** Aliases of aliases that are followed. */
const mostSteps = 20
/** Addresses that one alias may stand for. */
const mostAddresses = 1000
const always = ['postmaster', 'abuse']

export function createRecipients(settings: Settings, aliases: Pick<Aliases, 'get' | 'complete'>, callout: Callout): Recipients {
  const { localDomains, subaddressDelimiter, postmaster } = settings
  const relayed = new Map(Object.entries(settings.relayDomains).map(([domain, { recipients }]) => [canonicalDomain(domain), recipients && new Set(recipients.map(comparable))]))
  const local = new Map(Object.entries(localDomains).map(([domain, agent]) => [
    canonicalDomain(domain), { ...agent, recipients: agent.recipients && new Set(agent.recipients.map((name) => name.toLowerCase())) },
  ]))

  return {
    async find(forwardPath, mayRelay) {
      const path = complete(forwardPath)
      const domain = domainOf(path)
      if (local.has(domain)) return await expand(path)
      const listed = relayed.get(domain)
      if (listed && !listed.has(comparable(path))) return unknownUser
      return listed !== undefined || relayed.has(domain) || mayRelay ? { addresses: [path] } : { refused: reply(550, '5.7.1', 'Relaying denied') }
    },
  }

  /** `<postmaster>` without a domain reaches the postmaster of this system (RFC 5321 section 4.5.1). */
  function complete(path: string): string {
    if (splitAddress(path).domain !== '') return path
    return `${path}@${Object.keys(localDomains)[0] ?? settings.hostname}`
  }

  /**
   * Follows aliases to their ends. Only what the client named is asked after: where an alias leads is the operator's word. Who was
   * seen already adds nobody, so that loops end; an alias may name itself to keep its own mailbox.
   */
  async function expand(path: string): Promise<Found> {
    const seen = new Set<string>()
    const ends: string[] = []
    if (!aliasOf(path)) {
      const found = await atHome(path)
      if (typeof found !== 'string') return { refused: aliases.complete() ? found : reply(451, '4.3.0', 'The aliases are not known yet; try again later') }
      if (found === path) return { addresses: [path] }
      path = found
    }
    let steps = [path]
    for (let step = 0; steps.length > 0; step++) {
      const next: string[] = []
      for (const address of steps) {
        if (seen.has(comparable(address))) continue
        seen.add(comparable(address))
        const targets = aliasOf(address)
        if (!targets || targets.some((target) => comparable(target) === comparable(address))) ends.push(address)
        next.push(...targets ?? [])
      }
      if (step >= mostSteps || ends.length + next.length > mostAddresses) return { refused: reply(451, '4.2.4', 'The aliases of this address have no end') }
      steps = next
    }
    if (ends.length > 0) return { addresses: ends }
    return { refused: reply(550, '5.4.6', 'The aliases of this address lead nowhere but to themselves') }
  }

  function aliasOf(address: string): string[] | undefined {
    const { localPart, domain } = splitAddress(address)
    return aliases.get(comparable(address)) ?? aliases.get(comparable(`${withoutTag(localPart, subaddressDelimiter)}@${domain}`))
  }

  /** The address itself, the one that takes its place, or the refusal. */
  async function atHome(address: string): Promise<string | Reply> {
    const agent = local.get(domainOf(address))!
    const name = unquotedLocalPart(splitAddress(address).localPart).toLowerCase()
    const listed = agent.recipients
    if (listed && !listed.has(name) && !listed.has(withoutTag(name, subaddressDelimiter))) {
      if (always.includes(name)) return postmaster !== undefined && comparable(postmaster) !== comparable(address) ? postmaster : address
      return agent.catchAll ?? unknownUser.refused
    }
    const no = agent.deliver === 'lmtp' && agent.callout ? await callout(agent, address) : null
    return no === null ? address : agent.catchAll ?? no
  }
}

const unknownUser = { refused: reply(550, '5.1.1', 'There is no such user here') }
