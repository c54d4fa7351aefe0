// How much one client or user may do: connections at a time, messages and recipients in a minute, failed AUTH. In this process's
// memory; a client that keeps below its limits never waits. A whole IPv6 /64 is one client.

import type { Settings } from '../settings/schema.ts'
import { clientOf } from './networks.ts'

export interface Limits {
  /** Counts a connection in; false: this client has as many as it may, and is not counted. */
  connected(client: string): boolean
  disconnected(client: string): void
  /** Counts in the last minute, and so many more; false: that would be more than allowed, and nothing is counted. */
  message(client: string, user: string | null): boolean
  recipient(client: string, user: string | null): boolean
  /** Notes a failed AUTH; returns the milliseconds to wait before the answer, more with each failure. */
  authFailed(client: string): number
}

const minute = 60_000

/** `exempt`: clients whose connections, messages and recipients are not limited; users always are. */
export function createLimits(limits: Settings['limits'], exempt: (client: string) => boolean, clock = () => performance.now()): Limits {
  const connections = new Map<string, number>()
  const rates = {
    clientMessages: createRate(limits.clientMessages, minute, clock),
    clientRecipients: createRate(limits.clientRecipients, minute, clock),
    userMessages: createRate(limits.userMessages, minute, clock),
    userRecipients: createRate(limits.userRecipients, minute, clock),
  }
  const authFailures = createRate(0, 10 * minute, clock)

  return {
    connected(address) {
      const client = clientOf(address)
      const open = connections.get(client) ?? 0
      if (limits.clientConnections > 0 && open >= limits.clientConnections && !exempt(address)) return false
      connections.set(client, open + 1)
      return true
    },
    disconnected(address) {
      const client = clientOf(address)
      const open = (connections.get(client) ?? 1) - 1
      if (open > 0) connections.set(client, open)
      else connections.delete(client)
    },
    message: (client, user) => allowed(rates.clientMessages, rates.userMessages, client, user),
    recipient: (client, user) => allowed(rates.clientRecipients, rates.userRecipients, client, user),
    authFailed(address) {
      const client = clientOf(address)
      authFailures.take(client)
      return Math.min(10_000, 250 * 2 ** (authFailures.count(client) - 1))
    },
  }

  function allowed(byClient: Rate, byUser: Rate, client: string, user: string | null): boolean {
    return user !== null ? byUser.take(user) : exempt(client) || byClient.take(clientOf(client))
  }
}

interface Rate {
  take(key: string): boolean
  count(key: string): number
}

/** At most `most` in any `span` milliseconds for each key, to the accuracy of two neighbouring spans; 0: no bound. */
function createRate(most: number, span: number, clock: () => number): Rate {
  const counts = new Map<string, { span: number; now: number; before: number }>()
  let sweepAt = 10_000 // keys

  function entry(key: string) {
    const current = Math.floor(clock() / span)
    const known = counts.get(key)
    const fresh = { span: current, now: 0, before: known?.span === current - 1 ? known.now : 0 }
    const found = known?.span === current ? known : fresh
    counts.set(key, found)
    if (counts.size > sweepAt) sweep(current)
    return found
  }

  /** Forgets who has been quiet; the more keys stay, the longer until the next time. */
  function sweep(current: number): void {
    for (const [key, each] of counts) if (each.span < current - 1) counts.delete(key)
    sweepAt = Math.max(10_000, 2 * counts.size)
  }

  return {
    take(key) {
      const found = entry(key)
      if (most > 0 && weight(found) >= most) return false
      found.now++
      return true
    },
    count: (key) => Math.round(weight(entry(key))),
  }

  /** The span before counts for the part of it that is less than one span ago. */
  function weight({ now, before }: { now: number; before: number }): number {
    return now + before * (1 - (clock() % span) / span)
  }
}
