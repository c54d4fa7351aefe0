// DNS as routing needs it: found, not there, or not known. Only the last one may defer mail, and it never bounces.

import { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { RecordType } from 'dns-packet'
import { confirmNoData } from './dns-confirm.ts'

export type Answer<T> =
  | { kind: 'found'; records: T[] }
  | { kind: 'no-domain' } // NXDOMAIN
  | { kind: 'no-data' } // the name exists, without such records
  | { kind: 'failed'; problem: string } // SERVFAIL, refused, time-out, and whatever is not understood

export interface Dns {
  mx(domain: string): Promise<Answer<{ exchange: string; preference: number }>>
  /** IPv4 first, then IPv6. */
  addresses(host: string): Promise<Answer<string>>
  /** The name of an address, if it leads back to the address (RFC 8499, FCrDNS); null when there is none or it is not known. */
  reverse(address: string): Promise<string | null>
}

/** `servers`: addresses with optional ports, none for the system's. `timeout`: milliseconds for one query to one server. */
export function createDns({ servers, timeout }: { servers: string[]; timeout: number }): Dns {
  const resolver = new Resolver({ timeout, tries: 2 })
  if (servers.length > 0) resolver.setServers(servers)

  async function addresses(host: string): Promise<Answer<string>> {
    if (isIP(host)) return { kind: 'found', records: [host] }
    if (host === 'localhost') return { kind: 'found', records: ['127.0.0.1', '::1'] } // RFC 6761 section 6.3
    const [four, six] = await Promise.all([answer(resolver.resolve4(host)), answer(resolver.resolve6(host))])
    const found = [four, six].flatMap((each) => (each.kind === 'found' ? each.records : []))
    if (found.length > 0) return { kind: 'found', records: found }
    return worst(await sure(four, host, 'A'), await sure(six, host, 'AAAA'))
  }

  return {
    addresses,
    async mx(domain) {
      const found = await sure(await answer(resolver.resolveMx(domain)), domain, 'MX')
      if (found.kind !== 'found') return found
      // A label may hold any octets, of which the resolver writes some as a backslash and digits, but no host is called so: to look for it,
      // or to write it into a log, would serve nobody.
      const records = found.records.filter(({ exchange }) => /^[!-[\]-~]*$/.test(exchange)).map(({ exchange, priority }) => ({ exchange, preference: priority }))
      return records.length > 0 ? { kind: 'found', records } : { kind: 'failed', problem: 'no MX that could be a host name' }
    },
    async reverse(address) {
      const names = await resolver.reverse(address).catch(() => [])
      for (const name of names.slice(0, 3)) {
        const back = await addresses(name)
        if (back.kind === 'found' && back.records.includes(address)) return name.replace(/\.$/, '').toLowerCase()
      }
      return null
    },
  }

  async function sure<T>(found: Answer<T>, name: string, type: RecordType): Promise<Answer<T>> {
    if (found.kind !== 'no-data') return found
    const problem = await confirmNoData(resolver.getServers(), timeout, name, type)
    return problem === null ? found : { kind: 'failed', problem }
  }
}

async function answer<T>(query: Promise<T[]>): Promise<Answer<T>> {
  try {
    const records = await query
    return records.length > 0 ? { kind: 'found', records } : { kind: 'no-data' }
  } catch (error) {
    const { code = String(error) } = error as NodeJS.ErrnoException
    if (code === 'ENOTFOUND') return { kind: 'no-domain' }
    if (code === 'ENODATA') return { kind: 'no-data' }
    return { kind: 'failed', problem: code }
  }
}

function worst<T>(four: Answer<T>, six: Answer<T>): Answer<T> {
  return six.kind === 'failed' && four.kind !== 'failed' ? six : four
}
