// The least that Temporal can do for us: a workflow with one local activity.

import { proxyLocalActivities } from '@temporalio/workflow'

const { touch } = proxyLocalActivities<{ touch(id: string): Promise<void> }>({ startToCloseTimeout: '1 minute' })

export async function emptyWorkflow(id: string): Promise<void> {
  await touch(id)
}
