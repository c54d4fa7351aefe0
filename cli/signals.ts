// Stopping: the first SIGINT or SIGTERM (and what else is named) stops in order, a second one at once.

/** Resolves at the first signal to stop. */
export function untilSignal(...others: NodeJS.Signals[]): Promise<string> {
  return new Promise((resolve) => {
    let seen = false
    for (const signal of ['SIGINT', 'SIGTERM', ...others] as const) {
      process.on(signal, () => {
        if (seen) process.exit(130)
        seen = true
        resolve(signal)
      })
    }
  })
}
