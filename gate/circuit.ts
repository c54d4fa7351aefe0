// Circuits: what the end of an attempt says of its destination's health, and when a circuit opens or closes for it.

import type { Logger } from 'pino'
import type { Outcome } from '../mail/outcome.ts'
import { isOfSettings } from '../mail/verdict.ts'
import type { GateLink } from './types.ts'

export type Health = 'well' | 'failing' | 'unknown'

/**
 * Of the host, not of the mail nor of our settings: whether it answers commands, refuses or loses connections, or was not asked, as by an
 * attempt without a verdict (null).
 */
export function healthOf(outcomes: Outcome[] | null): Health {
  const asked = (outcomes ?? []).filter((outcome) => outcome.phase !== 'policy' && !(outcome.phase === 'dns' && outcome.status === 'bounced') && !isOfSettings(outcome))
  if (asked.length === 0) return 'unknown'
  const answered = ({ phase, reply, status }: Outcome) =>
    status === 'delivered' || phase === 'local' || (reply !== null && reply.code !== 421 && !['greeting', 'ehlo', 'tls', 'auth'].includes(phase))
  return asked.some(answered) ? 'well' : 'failing'
}

export interface Ended {
  /** Queue id. */
  id: string
  destination: string
  /** Whose probe the attempt was: a destination or a next hop; undefined: of none. */
  probed: string | undefined
  health: Health
  /** What a failure said. */
  text: string
  /** Messages whose attempts at the destination failed by its fault, since the last that did not; changed. */
  failing: Set<string>
}

interface CircuitOptions {
  link: GateLink
  /** So many failing messages open a circuit. */
  failures: number
  log: Logger
}

export function createCircuits({ link, failures, log }: CircuitOptions): { ended(attempt: Ended): void } {
  const isOpen = (name: string) => Boolean(link.rows().get(name)?.circuitUntil)

  function ended({ id, destination, probed, health, text, failing }: Ended): void {
    if (health === 'well') failing.clear()
    if (health === 'failing') failing.add(id)
    if (probed !== undefined && isOpen(probed)) {
      probeEnded(probed, health, text)
      return
    }
    // Closed meanwhile, by an operator's word: what this attempt found counts as what any other finds, and does not undo it.
    if (probed !== undefined) link.releaseProbe(probed)
    if (health === 'failing' && failing.size >= failures && !isOpen(destination)) {
      log.warn({ destination, messages: failing.size, text }, 'circuit opened: one attempt at a time probes the destination')
      link.openCircuit(destination, text)
    }
  }

  function probeEnded(probed: string, health: Health, text: string): void {
    if (health === 'well') {
      log.info({ destination: probed }, 'circuit closed: the destination answers again')
      link.closeCircuit(probed)
    } else if (health === 'failing') link.openCircuit(probed, text)
    else link.releaseProbe(probed)
  }

  return { ended }
}
