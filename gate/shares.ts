// This worker's part in the limits of destinations: places are leased from Postgres a handful at a time, so that an attempt asks for
// nothing; what is not used, or another's due, is given back at once, and whoever waits for it hears of it.

import type { Sql } from '../store/database.ts'
import { leaveShares, renewShares, type ShareAsk, shareLives, type ShareRow, sharesChannel } from '../store/destination-shares.ts'
import { dueTo, placesOf } from './due.ts'
import type { Busy, Limit } from './types.ts'

export interface Shares {
  /** This worker's part; the first time, and after a while of wanting nothing, Postgres is asked. */
  share(name: string, limit: Limit): Promise<Limit>
  part(name: string): Limit | null
  freed(name: string): void
  /** To be called every second: a row that is not renewed lapses. Throws when Postgres does not answer. */
  renew(): Promise<void>
  stop(): Promise<void>
}

interface Part {
  limit: Limit
  /** Of the limit on concurrency: leased, and due. */
  places: number
  due: number
  rate: number | null
  wants: number
  /** When that was asked, by the clock that only counts: a while later the others no longer know of it. */
  at: number
}

export interface SharesDeps {
  sql: Sql
  worker: string
  /** What the gate says of a destination. */
  busy: (name: string) => Busy | undefined
  /** The part in it has grown. */
  wake: (name: string) => void
}

/** Milliseconds in which what is to be asked is gathered. */
const gathered = 5

export function keepShares({ sql, worker, busy, wake }: SharesDeps): Shares {
  const parts = new Map<string, Part>()
  let gathering: { names: Set<string>; done: Promise<void> } | null = null
  let last = Promise.resolve()
  let stopped = false

  async function share(name: string, limit: Limit): Promise<Limit> {
    const known = parts.get(name)
    if (known && known.limit.concurrency === limit.concurrency && known.limit.rate === limit.rate && known.wants > 0 && !hasLapsed(known)) return partOf(known)
    parts.set(name, { places: 0, due: 0, rate: limit.rate === null ? null : 0, wants: 0, at: 0, ...known, limit })
    await ask(name, true).catch(() => {})
    return partOf(parts.get(name)!)
  }

  /** Renews the rows of these destinations soon, with all others that are asked for until then; one statement is under way at a time. */
  function ask(name: string, first = false): Promise<void> {
    if (gathering === null) {
      const names = new Set<string>()
      const before = last
      const done = new Promise((resolve) => setTimeout(resolve, first ? 0 : gathered)).then(() => before.catch(() => {})).then(() => {
        gathering = null
        return renewNamed([...names])
      })
      gathering = { names, done }
      last = done.catch(() => {})
    }
    gathering.names.add(name)
    return gathering.done
  }

  async function renewNamed(all: string[]): Promise<void> {
    const names = all.filter((name) => parts.has(name))
    if (stopped || names.length === 0) return
    const asked = performance.now()
    const decided = new Map<string, Part>()
    await renewShares(sql, worker, names, (name, others) => {
      const [next, tell] = decide(name, others)
      decided.set(name, next)
      return { wants: next.wants, places: next.places, tell }
    })
    for (const [name, next] of decided) {
      parts.set(name, { ...next, at: asked, limit: parts.get(name)!.limit })
      if (busy(name) === undefined) parts.delete(name)
      wake(name)
    }
  }

  /** What this worker holds from now on. What it gives up it gives up here, before the others can see that it is free. */
  function decide(name: string, others: ShareRow[]): [Part, ShareAsk['tell']] {
    const before = parts.get(name)!
    const { limit } = before
    const { wants: could, underWay } = busy(name) ?? { wants: 1, underWay: 0 }
    // No more than there is: two that could use all of it have the same part.
    const most = Math.max(1, Math.min(limit.concurrency ?? Number.POSITIVE_INFINITY, limit.rate === null ? Number.POSITIVE_INFINITY : Math.ceil(limit.rate)))
    const wants = Math.min(could, most)
    const rows = [...others, { destination: name, worker, wants, places: before.places }]
    const due = dueTo(worker, limit, rows)
    const places = limit.concurrency === null ? 0 : placesOf(worker, limit.concurrency, due.concurrency!, rows, underWay)
    Object.assign(before, { places: Math.min(before.places, places), due: due.concurrency ?? 0 })
    const lacks = places < Math.min(wants, due.concurrency ?? 0) && wants > before.wants
    return [{ limit, places, due: due.concurrency ?? 0, rate: due.rate, wants, at: before.at }, places < rows.at(-1)!.places || lacks]
  }

  async function renew(): Promise<void> {
    const used = [...parts].filter(([name, { wants, places }]) => wants > 0 || places > 0 || busy(name) === undefined)
    await Promise.all(used.map(([name]) => ask(name)))
  }

  // Somebody has given places back, or waits for some that this worker holds.
  const listening = sql.listen(sharesChannel, (told) => {
    const [who, name] = [told.slice(0, told.indexOf(' ')), told.slice(told.indexOf(' ') + 1)]
    if (who !== worker && parts.has(name)) ask(name).catch(() => {})
  }).catch(() => null)

  return {
    share,
    renew,
    part(name) {
      const part = parts.get(name)
      return part ? partOf(part) : null
    },
    freed(name) {
      const part = parts.get(name)
      if (part && part.places > part.due) ask(name).catch(() => {})
    },
    async stop() {
      stopped = true
      await last
      await (await listening)?.unlisten().catch(() => {})
      await leaveShares(sql, worker)
    },
  }
}

/** None after a pause of this process or of the line to Postgres, until the row is renewed: the others have shared out what it was. */
function partOf(part: Part): Limit {
  const { limit, places, due, rate } = part
  const lapsed = hasLapsed(part)
  return { concurrency: limit.concurrency === null ? null : lapsed ? 0 : Math.min(places, due), rate: rate !== null && lapsed ? 0 : rate }
}

function hasLapsed({ at }: Part): boolean {
  return performance.now() - at > shareLives
}
