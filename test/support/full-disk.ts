// A small file system in memory, to be filled. Only root may mount one.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmdirSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'

export interface SmallDisk {
  folder: string
  /** Takes all the room that is left. */
  fill(): void
  clear(): void
  end(): void
}

/** Why there can be none here, or false. */
export function withoutMounts(): string | false {
  return userInfo().uid === 0 ? false : 'a file system is mounted by root alone'
}

export function mountDisk(megabytes: number): SmallDisk {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-disk-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', folder])
  const file = join(folder, 'full')
  return {
    folder,
    fill() {
      // Whoever else writes there takes some of it between the look and the taking.
      for (let tries = 0; ; tries++) {
        const { bavail, bsize } = statfsSync(folder)
        try {
          return void execFileSync('fallocate', ['-l', String(bavail * bsize), file], { stdio: 'ignore' })
        } catch (error) {
          if (tries === 20) throw error
        }
      }
    },
    clear: () => rmSync(file, { force: true }),
    end() {
      execFileSync('umount', [folder])
      rmdirSync(folder)
    },
  }
}
