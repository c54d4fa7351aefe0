// Stopping: a process stops in order at the first signal, or when nobody is left to read what it prints; at once when it is asked again.

/** Asked for by somebody, who may grow impatient. */
const asking = ['SIGINT', 'SIGTERM', 'SIGQUIT'] as const

const stops = new Set<(why: string) => void>()

/**
 * Resolves when this process is to stop. Of the others that are named each may come again and again for one reason, as SIGHUP does from the
 * shell and from the kernel when a terminal is closed.
 */
export function untilSignal(...others: NodeJS.Signals[]): Promise<string> {
  return new Promise((resolve) => {
    let seen = false
    const stop = (why: string) => {
      seen = true
      resolve(why)
    }
    stops.add(stop)
    for (const signal of asking) {
      process.on(signal, () => {
        if (seen) process.exit(130)
        stop(signal)
      })
    }
    for (const signal of others) process.on(signal, () => stop(signal))
  })
}

/**
 * Whoever reads what we print may go first, as `head` does, or a terminal that is closed: then a command ends without a word, and what stops in
 * order does so.
 */
export function endWithReader(): void {
  const atEnd = (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error
    for (const stop of stops) stop('its output is closed')
    if (stops.size === 0) process.exit()
  }
  process.stdout.on('error', atEnd)
  process.stderr.on('error', atEnd)
}
