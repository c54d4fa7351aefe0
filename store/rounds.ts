// Rounds: what a process does on the database again and again, by itself, until it stops.

export interface Rounds {
  /** Ends after the round under way. */
  stop(): Promise<void>
}

export interface RoundsOptions {
  /** One round; true: there is more, so the next follows at once. */
  round: () => Promise<boolean>
  /** Milliseconds between two rounds. */
  interval: number
  /** Told of a round that failed, once for each outage; the next comes after the interval all the same. */
  trouble: (error: unknown) => void
}

/** Begins at once. */
export function inRounds({ round, interval, trouble }: RoundsOptions): Rounds {
  let stopped = false
  let troubled = false
  let timer: NodeJS.Timeout | undefined
  let current = once()

  async function once(): Promise<void> {
    let more = false
    try {
      more = await round()
      troubled = false
    } catch (error) {
      if (!troubled) trouble(error)
      troubled = true
    }
    if (!stopped) timer = setTimeout(() => { current = once() }, more ? 0 : interval)
  }

  return {
    async stop() {
      stopped = true
      clearTimeout(timer)
      await current
    },
  }
}
