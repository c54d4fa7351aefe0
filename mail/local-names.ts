// Who is behind an address of ours: itself, aliases followed to their ends, the postmaster, the catch-all. One answer for mail that
// comes in, for mail that is submitted, and for our own reports. Pure.

import { canonicalDomain, comparable, domainOf, splitAddress, unquotedLocalPart, withoutTag } from './address.ts'

/** unknown: no such user; empty: an alias without targets; circle: it leads to nothing but itself; endless: to too many, or too far. */
export type Behind = { addresses: string[] } | { problem: 'unknown' | 'empty' | 'circle' | 'endless' }

export interface LocalNames {
  /** The addresses that take this one's place, as they were written; an address of another domain stands for itself. */
  find(address: string): Behind
  /** The same for where an operator points to: an unknown user of ours is not looked for. */
  follow(address: string): Behind
  /** Who stands in where this address of ours is known not to be there: the postmaster, the catch-all, or nobody. */
  instead(address: string): Behind
}

/** As the settings have them. */
export interface NameSettings {
  localDomains: Record<string, { recipients?: string[] | undefined; catchAll?: string | undefined }>
  subaddressDelimiter: string
  postmaster?: string | undefined
}

/** Aliases of aliases that are followed. */
const mostSteps = 20
/** Addresses that one alias may stand for. */
const mostAddresses = 1000
const always = ['postmaster', 'abuse']

/** `aliasOf` is asked with the comparable form of an address. */
export function localNames({ localDomains, subaddressDelimiter, postmaster }: NameSettings, aliasOf: (address: string) => string[] | undefined): LocalNames {
  const local = new Map(Object.entries(localDomains).map(([domain, { recipients, catchAll }]) => [
    canonicalDomain(domain), { listed: recipients && new Set(recipients.map((name) => name.toLowerCase())), catchAll },
  ]))

  function find(address: string): Behind {
    const home = local.get(domainOf(address))
    if (!home) return { addresses: [address] }
    if (targetsOf(address)) return follow(address)
    const name = nameIn(address)
    const isListed = !home.listed || home.listed.has(name) || home.listed.has(withoutTag(name, subaddressDelimiter))
    const isItself = always.includes(name) && (postmaster === undefined || comparable(postmaster) === comparable(address))
    return isListed || isItself ? { addresses: [address] } : instead(address)
  }

  function instead(address: string): Behind {
    const targets = [always.includes(nameIn(address)) ? postmaster : undefined, local.get(domainOf(address))?.catchAll]
    const target = targets.find((each) => each !== undefined && comparable(each) !== comparable(address))
    return target === undefined ? { problem: 'unknown' } : follow(target)
  }

  /** Who was seen already adds nobody, so that loops end; an alias may name itself to keep its own mailbox. */
  function follow(address: string): Behind {
    const seen = new Set<string>()
    const ends: string[] = []
    let empty = false
    let steps = [address]
    for (let step = 0; steps.length > 0; step++) {
      const next: string[] = []
      for (const each of steps) {
        if (seen.has(comparable(each))) continue
        seen.add(comparable(each))
        const targets = targetsOf(each)
        empty ||= targets?.length === 0
        if (!targets || targets.some((target) => comparable(target) === comparable(each))) ends.push(each)
        next.push(...targets ?? [])
      }
      if (step >= mostSteps || ends.length + next.length > mostAddresses) return { problem: 'endless' }
      steps = next
    }
    return ends.length > 0 ? { addresses: ends } : { problem: empty ? 'empty' : 'circle' }
  }

  function targetsOf(address: string): string[] | undefined {
    const { localPart, domain } = splitAddress(address)
    return aliasOf(comparable(address)) ?? aliasOf(comparable(`${withoutTag(localPart, subaddressDelimiter)}@${domain}`))
  }

  return { find, follow, instead }
}

function nameIn(address: string): string {
  return unquotedLocalPart(splitAddress(address).localPart).toLowerCase()
}
