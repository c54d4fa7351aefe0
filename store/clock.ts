// The time as Postgres has it, by which all processes go: the clock of one machine may be wrong, or jump. Between two looks it is
// carried on by the clock that only counts.

import type { Sql } from './database.ts'

/** Milliseconds between two looks. */
const interval = 1000

/** Of Postgres' clock over the one that counts; the machine's clock until Postgres has said it. */
let offset = Date.now() - performance.now()

/** Milliseconds since 1970. For whatever is compared with a time in Postgres, or stored there. */
export function postgresTime(): number {
  return Math.round(performance.now() + offset)
}

/** Looks at once, and every second. While Postgres is away the time goes on. */
export function keepClock(sql: Sql): { read: Promise<void>; stop(): Promise<void> } {
  let stopped = false
  let timer: NodeJS.Timeout | undefined
  let round = look()
  const read = round

  async function look(): Promise<void> {
    const asked = performance.now()
    try {
      const [row] = await sql<{ at: number }[]>`select extract(epoch from clock_timestamp())::float8 * 1000 as at`
      // It was read at some moment between question and answer.
      offset = row!.at - (asked + performance.now()) / 2
    } catch {
      // Nothing is known that was not known before.
    }
    if (!stopped) timer = setTimeout(() => { round = look() }, interval).unref()
  }

  return {
    read,
    async stop() {
      stopped = true
      clearTimeout(timer)
      await round
    },
  }
}
