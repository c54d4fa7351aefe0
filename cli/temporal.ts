// The connection to Temporal of a process that lasts and has no worker.

import { Client, Connection } from '@temporalio/client'
import type { Logger } from 'pino'
import type { Settings } from '../settings/schema.ts'
import { type ConnectionOptions, connectionOptions, watchConnection } from '../worker/connection.ts'
import { type StartMessage, workflowStarter } from '../worker/starter.ts'
import { whyUnreachable } from '../worker/unreachable.ts'

export interface LastingStarter {
  startMessage: StartMessage
  /** Reads certificates and key again, where their files have changed. */
  reload(): void
  close(): Promise<void>
}

/** Milliseconds that the old connection is kept for what is under way when another takes its place. */
const grace = 15_000
/** Milliseconds between two lines that say why Temporal cannot be reached. */
const tellEvery = 60_000

/** Workflows start the ordinary way. Connected when it is first needed. Throws a SettingsError when certificates or key are no good. */
export function lastingStarter(settings: Settings, log: Logger): LastingStarter {
  let connection = lasting(connectionOptions(settings))
  let start = starterBy(connection)
  let toldAt = Number.NEGATIVE_INFINITY
  const watch = watchConnection(settings, log, (options) => {
    const old = connection
    connection = lasting(options)
    start = starterBy(connection)
    setTimeout(() => { void old.close() }, grace).unref()
  })

  function starterBy(connection: Connection): StartMessage {
    return workflowStarter(new Client({ connection, namespace: settings.temporal.namespace }), settings, false)
  }

  async function tell(error: unknown): Promise<void> {
    if (performance.now() - toldAt < tellEvery) return
    toldAt = performance.now()
    const { what, todo } = await whyUnreachable(settings, error)
    log.warn({ address: settings.temporal.address, error: what, todo }, 'Temporal is away; mail is accepted and waits')
  }

  return {
    async startMessage(id, overdue) {
      try {
        return await start(id, overdue)
      } catch (error) {
        await tell(error)
        throw error
      }
    },
    reload: watch.look,
    async close() {
      watch.stop()
      await connection.close()
    },
  }
}

/**
 * gRPC itself repeats what fails for the moment: the client's own repetition is a timer that outlives the connection, and ends the
 * process with an exception when it fires after the end.
 */
function lasting(options: ConnectionOptions): Connection {
  const times = 10
  const retryPolicy = { maxAttempts: times, initialBackoff: '0.1s', maxBackoff: '5s', backoffMultiplier: 2, retryableStatusCodes: ['UNAVAILABLE', 'UNKNOWN', 'ABORTED', 'RESOURCE_EXHAUSTED'] }
  const serviceConfig = JSON.stringify({ loadBalancingConfig: [], methodConfig: [{ name: [{}], retryPolicy }] })
  return Connection.lazy({ ...options, interceptors: [], channelArgs: { 'grpc.service_config': serviceConfig, 'grpc-node.retry_max_attempts_limit': times } })
}
