// What an operator may do to a queued message, and which requests are wrong whatever the message is. Pure.

import { parseNextHop } from './route.ts'

/** Each action in words, as the command line and Temporal's own tools show it. */
export const controlWords = {
  hold: 'stop attempts: neither tried nor expired until released',
  release: 'end a hold: tried at once; the time on hold does not count as queue lifetime',
  retry: 'try now what is deferred; by a filter, not what its sender has put off',
  reroute: 'send to another next hop, whatever the settings and DNS say',
  expire: 'return to the sender as expired, without another attempt',
  bounce: 'return to the sender as failed; the reason is told in the report',
  drop: 'give up in silence: no report is sent',
  'set-lifetime': 'change the queue lifetime, counted from the acceptance, or from the time that the sender has put it off to',
} as const

export type ControlAction = keyof typeof controlWords
export const controlActions = Object.keys(controlWords) as ControlAction[]

export interface ControlRequest {
  action: ControlAction
  /** Who asks: kept with the message. */
  who: string
  why: string
  /** Positions in the envelope; null or left out: every recipient. Not for hold, release and set-lifetime. */
  recipients?: number[] | null | undefined
  /** For reroute: as in the settings' routes; null goes back to what the settings and DNS say. */
  nextHop?: string | null | undefined
  /** For set-lifetime: milliseconds, counted from the acceptance, or from the time that the sender has put it off to. */
  lifetime?: number | undefined
}

export interface ControlResult {
  /** Forward-paths that the action reached, at most a hundred of them; `count` tells how many it reached. */
  changed: string[]
  count: number
  /** Forward-paths left alone, since their final dot was sent and the reply is awaited. */
  busy: string[]
}

/** Whether the action concerns single recipients, rather than the message as a whole. */
export function byRecipient(action: ControlAction): boolean {
  return action !== 'hold' && action !== 'release' && action !== 'set-lifetime'
}

/** Milliseconds: mail is planned no further ahead, nor kept longer. */
export const year = 366 * 86_400_000
/** No envelope is as long. */
const highest = 1_000_000

/** Whether Postgres can keep the text. */
const isStorable = (text: string) => !/\0|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text)

/** Why the request is refused whatever the message is, in a sentence that says what to do; null when nothing speaks against it. */
export function refusalOf(request: ControlRequest): string | null {
  const { action, who, why, recipients, nextHop, lifetime } = request
  if (!controlActions.includes(action)) return `there is no action ${String(action)}; there are ${controlActions.join(', ')}`
  if (typeof who !== 'string' || who === '' || who.length > 200) return 'who asks must be said, in at most 200 characters'
  if (typeof why !== 'string' || why.length > 1000) return 'the reason may have at most 1000 characters'
  if (recipients && !byRecipient(action)) return `${action} concerns the message as a whole, not single recipients`
  if (![who, why, String(nextHop)].every(isStorable)) return 'it holds a NUL, or half of a surrogate pair: write it without'
  if (recipients && !recipients.every((n) => Number.isInteger(n) && n >= 0 && n <= highest)) return 'recipients are named by their positions in the envelope, from 0'
  if (recipients?.length === 0) return 'no recipient is named; leave the list out to mean all of them'
  if (action === 'reroute') {
    if (nextHop === undefined) return 'reroute needs a next hop, or null to go back to the settings and DNS'
    if (nextHop !== null) return nextHopFault(nextHop)
  }
  if (action === 'set-lifetime' && !(Number.isInteger(lifetime) && lifetime! >= 60_000 && lifetime! <= year)) {
    return 'a queue lifetime is from one minute to 366 days'
  }
  return null
}

/** Why a message that stands so cannot have it; null: it can. `state`: of the message, queued or finished. */
export function faultOf({ state, held }: { state: string; held: boolean }, action: ControlAction): string | null {
  if (state === 'finished') return 'it is finished: every recipient is settled. Failed ones can be replayed'
  if (action === 'hold' && held) return 'it is on hold already'
  if (action === 'release' && !held) return 'it is not on hold'
  if (action === 'retry' && held) return 'it is on hold; release it, then it is tried at once'
  return null
}

function nextHopFault(text: string): string | null {
  try {
    parseNextHop(text)
    return null
  } catch (error) {
    return (error as Error).message
  }
}
