// everpost serve, ingress, worker: the roles of production.

import { loadContext } from './context.ts'
import { createLog } from './log.ts'
import { type Role, type Running, startParts } from './parts.ts'
import { untilSignal } from './signals.ts'

export async function runRole(role: Role, file: string | undefined): Promise<void> {
  const { settings } = loadContext(file)
  const log = createLog(settings)
  const stopping = untilSignal()
  let running: Running | null = null
  // While it starts nothing is under way that would not stand a kill, and nothing is there to reload: it may be waiting for Postgres.
  void stopping.then((why) => {
    if (running) return
    log.info(`${why}: stopping`)
    process.exit(0)
  })
  process.on('SIGHUP', () => running?.reload())
  running = await startParts(role, settings, log)
  log.info({ role, listeners: running.listeners, http: running.http }, 'ready')
  log.info(`${await stopping}: stopping`)
  await running.stop()
  process.exit(0)
}
