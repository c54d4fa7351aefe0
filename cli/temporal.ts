// The commands' connection to Temporal.

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
