// What came of this process's attempts, by destination: counted in memory, and written down now and then.

import type { Outcome } from '../mail/outcome.ts'
import { postgresTime } from '../store/clock.ts'
import { isDatabaseError, isOfData, type Sql } from '../store/database.ts'
import { addTraffic, type Traffic } from '../store/destination-traffic.ts'

export function trafficOf(outcomes: Outcome[]): Traffic {
  const count = (status: Outcome['status']) => outcomes.filter((outcome) => outcome.status === status).length
  const said = outcomes.find(({ status }) => status !== 'delivered') ?? outcomes[0]!
  return { delivered: count('delivered'), deferred: count('deferred'), bounced: count('bounced'), lastAt: new Date(postgresTime()), lastText: said.text.slice(0, 300) }
}

export interface TrafficBook {
  count(name: string, traffic: Traffic): void
  /**
   * Adds what was counted to the rows of this worker. Throws when Postgres does not take it, and keeps it for the next time, unless Postgres
   * would never take it. Where the connection broke under the statement it may count twice: these are figures for people.
   */
  write(): Promise<void>
}

export function keepTraffic(sql: Sql, worker: string): TrafficBook {
  let counted = new Map<string, Traffic>()
  return {
    count(name, traffic) {
      counted.set(name, sum(counted.get(name), traffic))
    },
    async write() {
      if (counted.size === 0) return
      const before = counted
      counted = new Map()
      try {
        await addTraffic(sql, worker, before)
      } catch (error) {
        if (isDatabaseError(error) && !isOfData(error)) counted = new Map([...before, ...[...counted].map(([name, since]) => [name, sum(before.get(name), since)] as const)])
        throw error
      }
    },
  }
}

/** The last words are those of the later one. */
function sum(before: Traffic | undefined, later: Traffic): Traffic {
  if (!before) return later
  const { delivered, deferred, bounced } = before
  return { ...later, delivered: delivered + later.delivered, deferred: deferred + later.deferred, bounced: bounced + later.bounced }
}
