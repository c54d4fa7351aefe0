// An attempt's claim on its recipients: taken before anything else; or, in the first pass over a message that nobody has tried, with
// the final dot, in one commit. Until then another pass may go the same way, but only one of them gets to its dot.

import type { HostTry } from '../mail/outcome.ts'
import { type Claim, claimAttempt, markDot, releaseAttempt, renewLease } from '../store/attempts.ts'
import { postgresTime } from '../store/clock.ts'
import type { ActivityDeps } from './index.ts'
import type { AttemptArgument } from './types.ts'

export interface Claiming {
  /** What is claimed; null while nothing is. */
  claim(): Claim | null
  /** Claims what can be had, unless something is claimed already. null: nobody is left to try. */
  take(): Promise<Claim | null>
  /** To be asked before the final dot to these recipients; false means that it may not be sent. Claims, where nothing is claimed. */
  beforeDot(recipients: number[]): Promise<boolean>
  /** Keeps what is claimed for another lease. False: some of it was taken away, whose final dot may not be sent any more. */
  renew(): Promise<boolean>
  /** As releaseAttempt, where something is claimed. */
  release(tries: HostTry[], noDot?: boolean): Promise<void>
}

/** `trace`: in the first pass, the header fields to prepend, kept with the claim. `unclaimed`: the attempt begins without a claim. */
export function createClaiming(deps: ActivityDeps, { id, clock, group }: AttemptArgument, trace: Buffer | null, unclaimed: boolean): Claiming {
  const { sql, worker, settings: { worker: { lease } } } = deps
  const { nextHop, recipients, route } = group
  const begunAt = new Date(postgresTime())
  let claim: Claim | null = null

  const claimAll = (dot: number[] | null) => claimAttempt(sql, { id, nextHop, recipients, route, worker, lease, clock: new Date(clock), trace, begunAt, unclaimed, dot })

  async function claimAtDot(accepted: number[]): Promise<boolean> {
    claim = await claimAll(accepted)
    if (!claim || claim.recipients.length === recipients.length) return claim !== null
    // Others have taken some of them: this transaction is for all or none.
    await releaseAttempt(sql, id, claim.number, [], true)
    claim = null
    return false
  }

  return {
    claim: () => claim,
    take: async () => (claim ??= await claimAll(null)),
    beforeDot: async (accepted) => (claim ? await markDot(sql, id, claim.number, accepted, lease) : await claimAtDot(accepted)),
    async renew() {
      if (!claim) return true
      const { number, recipients } = claim
      return (await renewLease(sql, id, number, lease)) === recipients.length
    },
    release: async (tries, noDot = false) => {
      if (claim) await releaseAttempt(sql, id, claim.number, tries, noDot)
    },
  }
}
