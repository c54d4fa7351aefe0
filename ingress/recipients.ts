// Who is behind a forward-path: local users, aliases, catch-alls and what we relay; or the refusal. No open relay: without AUTH
// or a trusted network only our own domains are taken.

import { canonicalDomain, comparable, domainOf, splitAddress } from '../mail/address.ts'
import { type Behind, localNames } from '../mail/local-names.ts'
import type { Recipient } from '../mail/envelope.ts'
import { expandRecipient } from '../mail/expand.ts'
import type { Settings } from '../settings/schema.ts'
import type { Aliases } from './aliases.ts'
import { type Reply, reply } from './reply.ts'

/** Addresses that take its place, the forward-path itself when it is nobody's alias; or why nobody is there. */
export type Found = { addresses: string[] } | { refused: Reply }

export interface Recipients {
  find(forwardPath: string, mayRelay: boolean): Promise<Found>
}

/** Host and port, or the path of a Unix socket. */
export interface LmtpServer {
  host?: string | undefined
  port?: number | undefined
  path?: string | undefined
}

/** Asks the LMTP server of a local domain; null: it takes the recipient. */
export type Callout = (server: LmtpServer, forwardPath: string) => Promise<Reply | null>

export function createRecipients(settings: Settings, aliases: Pick<Aliases, 'get' | 'complete'>, callout: Callout): Recipients {
  const { localDomains } = settings
  const names = localNames(settings, aliases.get)
  const relayed = new Map(Object.entries(settings.relayDomains).map(([domain, { recipients }]) => [canonicalDomain(domain), recipients && new Set(recipients.map(comparable))]))
  const local = new Map(Object.entries(localDomains).map(([domain, agent]) => [canonicalDomain(domain), agent]))

  return {
    async find(forwardPath, mayRelay) {
      const isPostmaster = forwardPath.toLowerCase() === 'postmaster'
      if (isPostmaster && local.size === 0 && settings.postmaster !== undefined) return answer(names.follow(settings.postmaster))
      const path = complete(forwardPath)
      const domain = domainOf(path)
      const agent = local.get(domain)
      if (agent) return await atHome(path, agent)
      const listed = relayed.get(domain)
      if (listed && !listed.has(comparable(path))) return { refused: unknownUser }
      return listed !== undefined || relayed.has(domain) || mayRelay ? { addresses: [path] } : { refused: reply(550, '5.7.1', 'Relaying denied') }
    },
  }

  /** `<postmaster>` without a domain reaches the postmaster of this system (RFC 5321 section 4.5.1). */
  function complete(path: string): string {
    if (splitAddress(path).domain !== '') return path
    return `${path}@${Object.keys(localDomains)[0] ?? settings.hostname}`
  }

  /** Only what the client named is asked after: where an alias leads is the operator's word. */
  async function atHome(path: string, agent: Settings['localDomains'][string]): Promise<Found> {
    const found = names.find(path)
    const itself = 'addresses' in found && found.addresses.length === 1 && found.addresses[0] === path
    if (!itself || agent.deliver !== 'lmtp' || !agent.callout) return answer(found)
    const no = await callout(agent, path)
    if (no === null) return found
    // A server that cannot say it now, or whose mailbox is full, has not said that nobody is there.
    if (!no.enhanced?.startsWith('5.1.')) return { refused: no }
    const behind = names.instead(path)
    return 'problem' in behind && behind.problem === 'unknown' ? early(no) : answer(behind)
  }

  function answer(found: Behind): Found {
    if ('addresses' in found) return found
    return found.problem === 'unknown' ? early(unknownUser) : { refused: refusals[found.problem] }
  }

  function early(refused: Reply): Found {
    return { refused: aliases.complete() ? refused : reply(451, '4.3.0', 'The aliases are not known yet; try again later') }
  }
}

const unknownUser = reply(550, '5.1.1', 'There is no such user here')
const refusals = {
  empty: reply(550, '5.2.1', 'This address is an alias that stands for nobody'),
  circle: reply(550, '5.4.6', 'The aliases of this address lead nowhere but to themselves'),
  endless: reply(451, '4.2.4', 'The aliases of this address have no end'),
}

/** Recipients of one message once aliases are followed. */
export const mostRecipients = 10_000

/** Those of an envelope, with whoever a forward-path stands for added: `wishes` are the sender's, as RCPT says them. */
export function addRecipients(known: Recipient[], forwardPath: string, addresses: string[], wishes: Pick<Recipient, 'notify' | 'orcpt'>): void {
  for (const recipient of expandRecipient(forwardPath, addresses, wishes)) {
    if (!known.some((one) => isSame(one, recipient))) known.push({ n: known.length, ...recipient })
  }
}

/** The same address with the same wishes: one delivery does for both. With other wishes it is a recipient of its own. */
function isSame(one: Recipient, other: Omit<Recipient, 'n'>): boolean {
  return one.forwardPath === other.forwardPath && one.expanded === other.expanded && one.orcpt === other.orcpt && one.notify.join() === other.notify.join()
}
