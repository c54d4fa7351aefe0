// The activities of a worker, bound to what they work with. One file each; this one only lists them.

import { ApplicationFailure } from '@temporalio/common'
import type { Logger } from 'pino'
import type { Gate } from '../gate/types.ts'
import type { LocalNames } from '../mail/local-names.ts'
import { UnknownMessage } from '../mail/unknown-message.ts'
import type { Settings } from '../settings/schema.ts'
import type { Dns } from '../smtp/dns.ts'
import type { HopOptions } from '../smtp/hop-options.ts'
import type { Pool } from '../smtp/pool.ts'
import type { Sql } from '../store/database.ts'
import type { JustAccepted } from '../store/just-accepted.ts'
import { attemptTransfer } from './attempt-transfer.ts'
import { control } from './control.ts'
import { firstPass } from './first-pass.ts'
import { handOff } from './hand-off.ts'
import { resolveNextHop } from './resolve-next-hop.ts'
import { sendDsn } from './send-dsn.ts'
import { stampHeaders } from './stamp-headers.ts'
import type { MessageActivities } from './types.ts'

export interface ActivityDeps {
  settings: Settings
  sql: Sql
  dns: Dns
  /** Who is behind an address of ours: reports go where mail would. */
  names: LocalNames
  /** What this process itself has just accepted. */
  justAccepted: JustAccepted
  /** Outbound connections that wait for their next message. */
  pool: Pool
  /** TLS and AUTH of a next hop, by its key. */
  hopOptions: (nextHop: string) => HopOptions
  log: Logger
  gate: Gate
  /** Names this process in attempt records. */
  worker: string
  /** Aborted when the worker is told to stop: attempts are broken off before the final dot. */
  stopping: AbortSignal
  /** Whether the namespace holds our search attributes. */
  searchable: boolean
  /** Starts the workflow of a message that was committed; when it fails, the outbox does it later. */
  startMessage: (id: string) => Promise<unknown>
}

export function createActivities(deps: ActivityDeps): MessageActivities {
  return {
    firstPass: (argument) => orEnd(firstPass(deps, argument)),
    stampHeaders: (argument) => orEnd(stampHeaders(deps, argument)),
    resolveNextHop: (argument) => orEnd(resolveNextHop(deps, argument)),
    attemptTransfer: (argument) => orEnd(attemptTransfer(deps, argument)),
    handOff: (argument) => orEnd(handOff(deps, argument)),
    sendDsn: (argument) => orEnd(sendDsn(deps, argument)),
    control: (argument) => orEnd(control(deps, argument)),
  }
}

/** What fails is tried again, whatever it is; but what the database does not know, it will not know the next time either. */
async function orEnd<T>(done: Promise<T>): Promise<T> {
  try {
    return await done
  } catch (error) {
    if (error instanceof UnknownMessage) throw ApplicationFailure.fromError(error, { nonRetryable: true })
    throw error
  }
}
