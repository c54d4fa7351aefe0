// The disk of Postgres is full. It lies in memory, so that it can be filled.

import { execFile } from 'node:child_process'
import { rmSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Acts } from './act.ts'

export const diskActs: Acts = {
  'the disk is full': {
    weight: 1,
    async do(cluster, random) {
      const { bavail, bsize } = await statfs(cluster.disk)
      const file = join(cluster.disk, 'full')
      try {
        await promisify(execFile)('fallocate', ['-l', String(bavail * bsize), file])
        await sleep(random.between(1000, cluster.patient ? 10_000 : 4000))
      } finally {
        rmSync(file, { force: true })
      }
      // Out of room for its log it panics, and cannot recover either: then whoever looks after it starts it again.
      await cluster.keepPostgres()
    },
  },
}
