// The connection to Temporal of a process that lasts and has no worker.

import { Connection } from '@temporalio/client'
import type { Settings } from '../settings/schema.ts'

/**
 * Connected when it is first needed. gRPC itself repeats what fails for the moment: the client's own repetition
 * is a timer that outlives the connection, and ends the process with an exception when it fires after the end.
 */
export function lasting({ address }: Settings['temporal']): Connection {
  const times = 10
  const retryPolicy = { maxAttempts: times, initialBackoff: '0.1s', maxBackoff: '5s', backoffMultiplier: 2, retryableStatusCodes: ['UNAVAILABLE', 'UNKNOWN', 'ABORTED', 'RESOURCE_EXHAUSTED'] }
  const serviceConfig = JSON.stringify({ loadBalancingConfig: [], methodConfig: [{ name: [{}], retryPolicy }] })
  return Connection.lazy({ address, interceptors: [], channelArgs: { 'grpc.service_config': serviceConfig, 'grpc-node.retry_max_attempts_limit': times } })
}
