// How many first attempts may be inside workflow tasks at a time: hosts that take long to answer must not hold all the room there is.

export interface FastLane {
  /** A place for an attempt with this next hop, to be left with the function returned; null when there is none. */
  enter(nextHop: string): (() => void) | null
}

/** Of `slots` places three quarters are given away, to one next hop a quarter. */
export function createFastLane(slots: number): FastLane {
  const byHop = new Map<string, number>()
  let all = 0
  return {
    enter(nextHop) {
      const there = byHop.get(nextHop) ?? 0
      if (all >= Math.ceil(slots * 0.75) || there >= Math.ceil(slots / 4)) return null
      all++
      byHop.set(nextHop, there + 1)
      return () => {
        all--
        const left = byHop.get(nextHop)! - 1
        if (left === 0) byHop.delete(nextHop)
        else byHop.set(nextHop, left)
      }
    },
  }
}
