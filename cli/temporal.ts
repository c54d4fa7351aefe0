// Connections to Temporal, of commands and of processes without a worker.

import { Client, Connection } from '@temporalio/client'
import type { Settings } from '../settings/schema.ts'
import { CommandError } from './errors.ts'

/** Connects, or says that Temporal is away. */
export async function withTemporal<T>(settings: Settings, use: (client: Client) => Promise<T>): Promise<T> {
  const { address, namespace } = settings.temporal
  if (!address) throw new CommandError('no Temporal is set. Set TEMPORAL_ADDRESS (host:port), or start dev mode here with: npm start', 78)
  let connection: Connection
  try {
    connection = await Connection.connect({ address, connectTimeout: 3000 })
  } catch {
    throw new CommandError(`Temporal does not answer at ${address}; nothing was changed. Mail on hold stays so, and what is due waits until it is back.`, 69)
  }
  try {
    return await use(new Client({ connection, namespace }))
  } finally {
    await connection.close()
  }
}

/**
 * For a process that lasts: connected when it is first needed. gRPC itself repeats what fails for the moment: the client's own repetition
 * is a timer that outlives the connection, and ends the process with an exception when it fires after the end.
 */
export function lasting({ address }: Settings['temporal']): Connection {
  const times = 10
  const retryPolicy = { maxAttempts: times, initialBackoff: '0.1s', maxBackoff: '5s', backoffMultiplier: 2, retryableStatusCodes: ['UNAVAILABLE', 'UNKNOWN', 'ABORTED', 'RESOURCE_EXHAUSTED'] }
  const serviceConfig = JSON.stringify({ loadBalancingConfig: [], methodConfig: [{ name: [{}], retryPolicy }] })
  return Connection.lazy({ address, interceptors: [], channelArgs: { 'grpc.service_config': serviceConfig, 'grpc-node.retry_max_attempts_limit': times } })
}
