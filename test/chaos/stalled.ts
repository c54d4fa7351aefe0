// What is known of a message that does not come out of the queue: by Postgres, and by Temporal.

import { Client, Connection } from '@temporalio/client'
import { openDatabase } from '../../store/database.ts'
import type { Cluster } from './cluster.ts'

/** A line for each of the oldest messages in the queue, at most so many; first those for which something is due. */
export async function describeStalled(cluster: Cluster, most: number): Promise<string[]> {
  const sql = openDatabase(cluster.postgres.url, 1, 'verdict')
  const connection = await Connection.connect({ address: cluster.temporal.address })
  const client = new Client({ connection })
  try {
    const rows = await sql<{ id: string }[]>`
      select m.id, now(), m.accepted_at, m.started_at, m.drive_at,
             (select json_agg(json_build_object('n', n, 'state', state, 'next', next_attempt_at, 'lease', leased_until, 'waits', waits)) from recipients r
              where r.message_id = m.id and state in ('queued', 'bouncing')) as recipients,
             (select json_agg(json_build_object('number', number, 'of', recipients, 'begun', begun_at, 'dot', dot_at, 'ended', ended_at, 'lost', lost) order by number)
              from attempts a where a.message_id = m.id) as attempts
      from messages m where m.state = 'queued'
      order by not exists (select from recipients r where r.message_id = m.id and (r.state = 'bouncing' or r.state = 'queued' and next_attempt_at <= now())), accepted_at
      limit ${most}`
    const activity = await sql`
      select application_name as who, state, wait_event_type as wait, now() - query_start as since, left(query, 80) as query from pg_stat_activity
      where application_name like 'everpost %' and state <> 'idle'`
    return [...activity.map((row) => JSON.stringify(row)), ...await Promise.all(rows.map(async (row) => {
      const handle = client.workflow.getHandle(row.id)
      const { raw } = await handle.describe().catch((error) => ({ raw: { error: String(error) } as never }))
      const history = await handle.fetchHistory().catch(() => null)
      const events = history?.events?.slice(-30).map((event) => `${event.eventId} ${event.eventType} ${JSON.stringify(event.workflowTaskFailedEventAttributes ?? '')}`)
      return JSON.stringify({ row, pendingTask: raw.pendingWorkflowTask, pendingActivities: raw.pendingActivities, status: raw.workflowExecutionInfo?.status, events })
    }))]
  } finally {
    await connection.close()
    await sql.end()
  }
}
