// The probes of open circuits that this process has under way. A claim lasts while its attempt does, however long a host is silent, since
// it is renewed; that of a process which died ends soon.

import { postgresTime } from '../store/clock.ts'
import type { Sql } from '../store/database.ts'
import { claimProbe, releaseProbe, renewProbe } from '../store/destinations.ts'

export interface Probes {
  /** Whether an attempt may go as the probe of this destination. */
  claim(name: string): Promise<boolean>
  /** The probe came to no verdict: another may go. */
  release(name: string): Promise<void>
  /** The probe has ended by opening the circuit again, or by closing it, which frees the claim as well. */
  forget(name: string): void
  /** To be called about every second. */
  renew(): Promise<void>
}

/** `time`: milliseconds for which a claim stands unless it is renewed. */
export function keepProbes(sql: Sql, time: number): Probes {
  const claims = new Map<string, string | null>() // null: the claim was lost, but its attempt has not ended
  let renewedAt = postgresTime()

  async function renewOne(name: string, claim: string): Promise<void> {
    const renewed = await renewProbe(sql, name, claim, time)
    if (claims.get(name) === claim) claims.set(name, renewed)
    else if (renewed) await releaseProbe(sql, name, renewed) // it ended meanwhile
  }

  return {
    async claim(name) {
      if (claims.has(name)) return false
      const claim = await claimProbe(sql, name, time)
      if (claim) claims.set(name, claim)
      return claim !== null
    },
    async release(name) {
      const claim = claims.get(name)
      claims.delete(name)
      if (claim) await releaseProbe(sql, name, claim)
    },
    forget: (name) => void claims.delete(name),
    async renew() {
      if (claims.size === 0 || postgresTime() - renewedAt < time / 5) return
      renewedAt = postgresTime()
      await Promise.all([...claims].map(([name, claim]) => claim && renewOne(name, claim)))
    },
  }
}
