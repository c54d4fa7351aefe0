// The disk of Postgres is full. It lies in memory, so that it can be filled.

import { execFile } from 'node:child_process'
import { rmSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Acts } from './act.ts'

/** Takes what is left, again and again, since Postgres takes of it at the same time. */
async function fill(disk: string, file: string): Promise<void> {
  for (let size = 0, tries = 0; tries < 20; tries++) {
    const { bavail, bsize } = await statfs(disk)
    if (bavail === 0) return
    const took = await promisify(execFile)('fallocate', ['-o', String(size), '-l', String(bavail * bsize), file]).then(() => true, () => false)
    if (took) size += bavail * bsize
  }
}

export const diskActs: Acts = {
  'the disk is full': {
    weight: 1,
    async do(cluster, random) {
      const file = join(cluster.disk, 'full')
      try {
        await fill(cluster.disk, file)
        await sleep(random.between(1000, cluster.patient ? 10_000 : 4000))
      } finally {
        rmSync(file, { force: true })
      }
      // Out of room for its log it panics, and cannot recover either: then whoever looks after it starts it again.
      await cluster.keepPostgres()
    },
  },
}
