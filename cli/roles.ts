// everpost serve, ingress, worker: the roles of production.

import { loadContext } from './context.ts'
import { createLog } from './log.ts'
import { type Role, startParts } from './parts.ts'
import { untilSignal } from './signals.ts'

export async function runRole(role: Role, file: string | undefined): Promise<void> {
  const { settings } = loadContext(file)
  const log = createLog(settings)
  const stopping = untilSignal()
  // While it starts nothing is under way that would not stand a kill: it may be waiting for Postgres.
  let started = false
  void stopping.then((why) => {
    if (started) return
    log.info(`${why}: stopping`)
    process.exit(0)
  })
  const running = await startParts(role, settings, log)
  started = true
  process.on('SIGHUP', () => running.reload())
  log.info({ role, listeners: running.listeners, http: running.http }, 'ready')
  log.info(`${await stopping}: stopping`)
  await running.stop()
  process.exit(0)
}
