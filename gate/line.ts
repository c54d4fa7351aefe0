// Attempts of this process that wait in memory for a place at a destination: a place that comes free is theirs at once, without a timer
// or a statement between.

export interface Line<Place> {
  length(): number
  /** Waits for a place, for at most `time` milliseconds; null when it came to nothing, or `signal` was aborted. */
  wait(time: number, signal: AbortSignal): Promise<Place | null>
  /** Gives a place to whoever has waited longest. */
  give(place: Place): void
}

export function createLine<Place>(): Line<Place> {
  const waiting = new Set<(place: Place | null) => void>()
  return {
    length: () => waiting.size,
    async wait(time, signal) {
      if (signal.aborted) return null
      return await new Promise((resolve) => {
        const end = (place: Place | null) => {
          waiting.delete(end)
          clearTimeout(timer)
          signal.removeEventListener('abort', leave)
          resolve(place)
        }
        const leave = () => end(null)
        const timer = setTimeout(leave, time)
        signal.addEventListener('abort', leave)
        waiting.add(end)
      })
    },
    give(place) {
      const [first] = waiting // a set keeps the order of what was added
      first?.(place)
    },
  }
}
