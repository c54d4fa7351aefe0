// Tells Temporal that messages have something to do, after Postgres has been told. Without Temporal the outbox does it.

import { Client, Connection } from '@temporalio/client'
import type { Settings } from '../settings/schema.ts'
import { connectionOptions } from '../worker/connection.ts'
import { workflowStarter } from '../worker/starter.ts'
import { whyUnreachable } from '../worker/unreachable.ts'
import { wakeSignal } from '../workflows/interface.ts'

const sideBySide = 40

/**
 * Starts the workflow of each message that is due, or wakes the one that runs; those due `later` are only woken, and the
 * outbox starts them in time. Quietly leaves all of it to the outbox when Temporal is away.
 */
export async function wakeMessages(settings: Settings, ids: string[], later: string[] = []): Promise<void> {
  if (!settings.temporal.address || ids.length + later.length === 0) return
  let connection: Connection
  try {
    connection = await Connection.connect({ ...connectionOptions(settings), connectTimeout: 2000 })
  } catch (error) {
    console.error(`${(await whyUnreachable(settings, error)).what}. Their workflows hear of it later.`)
    return
  }
  try {
    const client = new Client({ connection, namespace: settings.temporal.namespace })
    const start = workflowStarter(client, settings, false)
    const wake = (id: string) => client.workflow.getHandle(id).signal(wakeSignal).catch(() => {}) // it may have ended already
    const work = [...ids.map((id) => () => start(id)), ...later.map((id) => () => wake(id))].values()
    await Promise.all(Array.from({ length: sideBySide }, async () => {
      for (const each of work) await each()
    }))
  } catch (error) {
    console.error(`Temporal: ${(error as Error).message}; their workflows hear of it later.`)
  } finally {
    await connection.close()
  }
}
