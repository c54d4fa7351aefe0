// Waiting for what a scenario expects to happen, with an end.

import { setTimeout as sleep } from 'node:timers/promises'

/** Asks again and again until the answer is not false, null or undefined; throws after `limit` milliseconds. */
export async function until<T>(what: string, ask: () => T | Promise<T>, limit = 60_000): Promise<Exclude<T, null | undefined | false>> {
  const end = Date.now() + limit
  for (;;) {
    const answer = await ask()
    if (answer !== null && answer !== undefined && answer !== false) return answer as Exclude<T, null | undefined | false>
    if (Date.now() > end) throw new Error(`waited ${limit} ms in vain: ${what}`)
    await sleep(50)
  }
}
