// What the inbound edges of a process have done since it started, by name: for whoever shows figures.

/** Names end up in metrics: nouns and past participles, told apart by a dot. */
export type CounterName =
  | 'connections' | 'connections.refused' | 'tls.handshakes' | 'tls.failed' | 'auth.succeeded' | 'auth.failed' | 'messages.accepted' | 'messages.refused'
  | 'recipients.accepted' | 'recipients.refused' | 'octets.accepted' | 'limited.connections' | 'limited.messages' | 'limited.recipients' | 'limited.errors' | 'limited.length' | 'limited.time'
  | 'protocol.earlyTalker' | 'protocol.unsynchronised' | 'protocol.bareLf' | 'relaying.denied'

export interface Counters {
  count(name: CounterName, by?: number): void
  /** Every counter that is not zero. */
  all(): Partial<Record<CounterName, number>>
}

export function createCounters(): Counters {
  const counts = new Map<CounterName, number>()
  return {
    count(name, by = 1) {
      counts.set(name, (counts.get(name) ?? 0) + by)
    },
    all: () => Object.fromEntries(counts),
  }
}
