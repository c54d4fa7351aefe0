// A process that runs empty workflows as fast as Temporal allows: eager start, one local activity, worker and client in one.

import { fileURLToPath } from 'node:url'
import { Client } from '@temporalio/client'
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker'
import { type CeilingRequest, type Figures, reply, warmUp } from './protocol.ts'

process.once('message', (request: CeilingRequest) => {
  void run(request).then(reply)
})

async function run({ temporal, atOnce, seconds }: CeilingRequest): Promise<Figures> {
  Runtime.install({ logger: new DefaultLogger('ERROR'), telemetryOptions: { logging: { filter: { core: 'ERROR', other: 'ERROR' } } } })
  const connection = await NativeConnection.connect({ address: temporal })
  const taskQueue = `ceiling-${process.pid}`
  const waiting = new Map<string, () => void>()
  const worker = await Worker.create({
    connection, taskQueue, workflowsPath: fileURLToPath(new URL('ceiling-workflow.js', import.meta.url)),
    // Done when the activity has run: a message has arrived at its next hop by then, too.
    activities: { touch: async (id: string) => waiting.get(id)?.() },
    bundlerOptions: { logger: { trace() {}, debug() {}, info() {}, log() {}, warn() {}, error: console.error } } as never,
    maxConcurrentWorkflowTaskExecutions: 200, maxConcurrentLocalActivityExecutions: 200,
  })
  const client = new Client({ connection })
  return await worker.runUntil(async () => {
    const latencies: number[] = []
    let measuring = false
    let end = Number.POSITIVE_INFINITY
    let number = 0
    const loop = async () => {
      while (performance.now() < end) {
        const id = `${taskQueue}-${number++}`
        const begun = performance.now()
        const done = new Promise<void>((resolve) => waiting.set(id, resolve))
        await client.workflow.start('emptyWorkflow', { taskQueue, workflowId: id, args: [id], requestEagerStart: true })
        await done
        waiting.delete(id)
        if (measuring) latencies.push(performance.now() - begun)
      }
    }
    const loops = Array.from({ length: atOnce }, loop)
    await new Promise((resolve) => setTimeout(resolve, warmUp(seconds)))
    measuring = true
    reply({ measuring: true })
    end = performance.now() + seconds * 1000
    await Promise.all(loops)
    return { count: latencies.length, seconds, latencies }
  })
}
