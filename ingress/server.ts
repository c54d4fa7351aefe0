// The inbound edge as a whole: its listeners, started and stopped together, and what they share.

import type { Logger } from 'pino'
import { SettingsError } from '../settings/load.ts'
import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import type { JustAccepted } from '../store/just-accepted.ts'
import type { Aliases } from './aliases.ts'
import { createCallout } from './callout.ts'
import { createCounters, type Counters } from './counters.ts'
import { createGroupCommit } from './group-commit.ts'
import { createLimits } from './limits.ts'
import { type Listening, startListener } from './listener.ts'
import { inNetworks } from './networks.ts'
import type { Outbox } from './outbox.ts'
import { createRecipients } from './recipients.ts'
import { remembered } from './remembered.ts'
import type { Edge } from './session.ts'
import { readCertificates, sameCertificates } from './tls.ts'
import { createUsers } from './users.ts'

export interface IngressDeps {
  settings: Settings
  sql: Sql
  /** Where messages are committed: of as many connections as that takes, whose statements end in time. Left out: `sql`. */
  accepting?: Sql
  aliases: Aliases
  /** Starts the workflow of a committed message. */
  startMessage: (id: string) => Promise<unknown>
  dns: { reverse(address: string): Promise<string | null> }
  outbox: Outbox
  /** Where a worker of this process finds what was committed. */
  justAccepted?: JustAccepted
  /** Told of what is done; otherwise it has its own. */
  counters?: Counters
  log: Logger
}

export interface Ingress {
  /** `port` 0 and the path in `address`: a Unix socket. */
  addresses: { kind: string; address: string; port: number }[]
  counters: Counters
  /** Reads the certificates again, if their files have changed; connections stay. What is no good is logged, and not used. */
  reload(): void
  /** No new connections; messages in DATA are finished, for at most five seconds. */
  stop(): Promise<void>
}

/** Starts under way beyond which a start is left to the outbox. */
const mostStarts = 200
/** Milliseconds without starts after one that failed. */
const rest = 1000
/** Milliseconds for which the name of a client's address, or that it has none, is remembered. */
const namesKept = 60_000
/** Milliseconds between two looks at the files of the certificates. */
const certificatesLooked = 60_000

/** Throws an Error of one line when a listener cannot be had; then none is left open. */
export async function startIngress(deps: IngressDeps): Promise<Ingress> {
  const { settings, sql, log, outbox, aliases, counters = createCounters() } = deps
  let certificates = readCertificates(settings)
  const trusts = inNetworks(settings.relayNetworks)
  const isTrustedProxy = inNetworks(settings.trustedProxies)
  const shared: Omit<Edge, 'listener' | 'submission' | 'upgrade' | 'hasTls'> = {
    settings, sql, log, counters, trusts, store: createGroupCommit({ sql, accepting: deps.accepting, committed: deps.justAccepted?.keep }), isProxy: isTrustedProxy,
    limits: createLimits(settings.limits, trusts),
    recipients: createRecipients(settings, aliases, createCallout(settings.hostname)),
    users: createUsers(settings, sql),
    // A client that comes for each message anew does not wait each time: without DNS that would be a second.
    reverse: remembered((address) => deps.dns.reverse(address).catch(() => null), namesKept),
    outboxFull: outbox.full,
    accepted: starter(deps),
  }
  const listening: Listening[] = []
  const addresses: Ingress['addresses'] = []
  const stopListeners = async () => {
    await Promise.all(listening.map((listener) => listener.stop()))
  }
  const reload = () => {
    try {
      const changed = readCertificates(settings)
      if (!changed || sameCertificates(changed, certificates)) return
      certificates = changed
      for (const listener of listening) listener.changeCertificates(changed)
      log.info('certificates read again')
    } catch (error) {
      log.error({ error: (error as Error).message }, 'certificates not read again: the old ones stay')
    }
  }

  try {
    for (const listener of settings.listeners) {
      if (listener.kind === 'submissions' && !certificates) {
        throw new SettingsError(`The submissions listener on port ${listener.port} needs tls.cert and tls.key in the settings.`)
      }
      const submission = listener.kind === 'submission' || listener.kind === 'submissions'
      const started = await startListener({ ...shared, listener, submission }, certificates, isTrustedProxy)
      listening.push(started)
      addresses.push({ kind: listener.kind, address: listener.path ?? listener.address, port: started.port })
    }
  } catch (error) {
    await stopListeners()
    throw error
  }
  const looking = setInterval(reload, certificatesLooked).unref()
  return {
    addresses, counters, reload,
    async stop() {
      clearInterval(looking)
      await stopListeners()
    },
  }
}

/** Starts the workflow of a committed message; what is not started here the outbox starts. */
function starter({ outbox, startMessage, log }: IngressDeps): (id: string) => void {
  let starting = 0
  let restingUntil = 0
  return (id) => {
    outbox.accepted()
    if (starting >= mostStarts || performance.now() < restingUntil) return
    starting++
    startMessage(id).catch((error) => {
      // While Temporal is away, to ask it for each message costs as much as accepting one.
      restingUntil = performance.now() + rest
      log.debug({ id, error: String(error) }, 'left to the outbox')
    }).finally(() => starting--)
  }
}
