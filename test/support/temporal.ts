// A Temporal of a scenario's own, to be stopped, wiped and started again at the same address.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../dev/ports.ts'
import { type RunningTemporal, startTemporal } from '../../dev/temporal.ts'
import { searchAttributes } from '../../mail/search.ts'

export interface TestTemporal {
  address: string
  start(): Promise<void>
  stop(): Promise<void>
  /** Forgets every workflow. Only while it is stopped. */
  wipe(): void
  end(): Promise<void>
}

export async function testTemporal(dynamicConfig: Record<string, number> = {}): Promise<TestTemporal> {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-temporal-'))
  const port = await freePort()
  let running: RunningTemporal | null = null
  const temporal: TestTemporal = {
    address: `127.0.0.1:${port}`,
    async start() {
      running = await startTemporal({ folder, port, searchAttributes, dynamicConfig, progress: () => {} })
    },
    async stop() {
      await running?.stop()
      running = null
    },
    wipe() {
      for (const end of ['', '-wal', '-shm']) rmSync(join(folder, `temporal.db${end}`), { force: true })
    },
    async end() {
      await temporal.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return temporal
}
