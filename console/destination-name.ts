// The name of a destination as an operator typed it, for the command line and the API: as it is known, or as it could be called.

import { builtInProviders, type Provider } from '../mail/destination.ts'
import { parseDestination } from '../mail/destination-name.ts'
import { localNextHop, nextHopKey, parseNextHop } from '../mail/route.ts'
import type { Sql } from '../store/database.ts'
import { canonicalName } from '../store/destinations.ts'
import type { Routing } from './next-hops.ts'

/** What settings say of how destinations are called. */
export interface Naming extends Routing {
  destinations: { providers: Provider[]; limits: { destination: string }[] }
}

export interface TypedName {
  name: string
  /** Mail, an operator or the settings have named it before. */
  known: boolean
}

/** Throws RangeError for what can be no destination; it says what a name looks like. */
export async function destinationName(sql: Sql, naming: Naming, given: string): Promise<TypedName> {
  const found = await canonicalName(sql, given)
  if (found.known) return found
  const set = inSettings(naming, given)
  if (set !== undefined) return { name: set, known: true }
  const name = parseDestination(given)
  const { known, ...again } = await canonicalName(sql, name)
  // What nobody has named yet keeps its case: it may be the path of a socket.
  return known ? { ...again, known } : { name, known }
}

function inSettings({ routes, localDomains, destinations: { providers, limits } }: Naming, given: string): string | undefined {
  const port = /:\d{1,5}$/.exec(given)?.[0] ?? ''
  const names = [
    ...limits.map(({ destination }) => destination), ...routes.map(({ nextHop }) => nextHopKey(parseNextHop(nextHop))),
    ...Object.entries(localDomains).map(([domain, agent]) => localNextHop(domain, agent)),
    ...[...providers, ...builtInProviders].flatMap(({ name }) => [name, `${name}${port}`]),
  ]
  return names.find((name) => name.toLowerCase() === given.toLowerCase())
}
