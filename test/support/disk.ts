// A small disk of a machine that may run out of room and lose its power: ext4 in an image that lies in memory. Only root may mount one.

import { execFile, execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readlinkSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { userInfo } from 'node:os'

export interface Disk {
  /** Where it is mounted. */
  folder: string
  /** Takes all the room that is left. */
  fill(): Promise<void>
  clear(): void
  /** Writes out what the kernel holds, as it does after a while. */
  sync(): void
  /**
   * From now on nothing is written, and nothing that was not synced is there when it comes back: ext4 is shut down without its journal
   * (EXT4_IOC_SHUTDOWN), as the tests of that file system do it. Whoever writes or syncs gets EIO.
   */
  losePower(): void
  /** Mounted again, its journal replayed. What works in a folder there is killed first, as by the loss of power; others must have let go of its files. */
  powerOn(): Promise<void>
  end(): Promise<void>
}

/** Why there can be none here, or false. */
export function lacksDisk(): string | false {
  if (userInfo().uid !== 0) return 'a file system is mounted by root alone'
  if (!existsSync('/dev/loop-control')) return 'there are no loop devices here'
  const missing = [['mkfs.ext4', 'e2fsprogs'], ['perl', 'perl-base']].filter(([program]) => !['/usr/sbin', '/usr/bin', '/sbin'].some((folder) => existsSync(join(folder, program!))))
  return missing.length > 0 ? `a disk needs ${missing.map(([program, bundle]) => `${program} (Debian: ${bundle})`).join(' and ')}` : false
}

/** `base`: an empty folder, which is gone at the end. Throws where no loop device can be had. */
export function mountDisk(base: string, megabytes: number): Disk {
  const [image, folder] = [join(base, 'image'), join(base, 'disk')]
  const full = join(folder, 'full')
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes + 16}m`, 'tmpfs', base])
  try {
    mkdirSync(folder)
    writeFileSync(image, '')
    truncateSync(image, megabytes * 1024 * 1024)
    execFileSync('mkfs.ext4', ['-q', '-m', '0', image], { stdio: ['ignore', 'ignore', 'inherit'] })
    mount()
  } catch (error) {
    execFileSync('umount', [base])
    throw error
  }
  return {
    folder,
    async fill() {
      // Whoever else writes there takes some of it between the look and the taking.
      for (let size = 0, tries = 0; tries < 20; tries++) {
        const { bavail, bsize } = await statfs(folder)
        if (bavail === 0) return
        const took = await promisify(execFile)('fallocate', ['-o', String(size), '-l', String(bavail * bsize), full]).then(() => true, () => false)
        if (took) size += bavail * bsize
      }
    },
    clear: () => rmSync(full, { force: true }),
    sync: () => void execFileSync('sync', ['-f', folder]),
    losePower() {
      const [shutdown, withoutJournal] = ['0x8004587D', '2']
      execFileSync('perl', ['-e', `open(my $f, '<', $ARGV[0]) or die $!; my $how = pack('L', ${withoutJournal}); ioctl($f, ${shutdown}, $how) or die $!`, folder])
    },
    async powerOn() {
      killThoseIn(folder)
      await unmount(folder)
      mount()
    },
    async end() {
      await unmount(folder)
      await unmount(base)
      rmSync(base, { recursive: true, force: true })
    },
  }

  function mount(): void {
    execFileSync('mount', ['-o', 'loop', image, folder])
  }
}

/** A backend of Postgres that waits for a lock outlives its postmaster, for ever. */
function killThoseIn(folder: string): void {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (readlinkSync(`/proc/${pid}/cwd`).startsWith(`${folder}/`)) process.kill(Number(pid), 'SIGKILL')
    } catch {
      // It has ended meanwhile.
    }
  }
}

async function unmount(folder: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return void execFileSync('umount', [folder], { stdio: ['ignore', 'ignore', 'pipe'] })
    } catch (error) {
      if (tries === 100) throw error
      await sleep(100)
    }
  }
}
