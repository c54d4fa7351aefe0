// A small disk of a machine that may run out of room and lose its power: ext4 in an image that lies in memory. Only root may mount one.

import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

export interface Disk {
  /** Where it is mounted. */
  folder: string
  /** Takes all the room that is left. Throws when others give room back again and again. */
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

let lacks: string | false | null = null

/** Why there can be none here, or false: one is tried. */
export function lacksDisk(): string | false {
  if (lacks !== null) return lacks
  const base = mkdtempSync(join(tmpdir(), 'everpost-disk-'))
  try {
    const { folder } = mountDisk(base, 8)
    for (const mounted of [folder, base]) run('umount', mounted)
    run('perl', '-e', '1')
    lacks = false
  } catch (error) {
    lacks = `a disk of its own needs root, loop devices, mkfs.ext4 (Debian: e2fsprogs) and perl: ${String(error).split('\n').at(-1) || error}`
  }
  rmSync(base, { recursive: true, force: true })
  return lacks
}

/** `base`: an empty folder, which is gone at the end. Throws where no loop device can be had. */
export function mountDisk(base: string, megabytes: number): Disk {
  const [image, folder] = [join(base, 'image'), join(base, 'disk')]
  const full = join(folder, 'full')
  run('mount', '-t', 'tmpfs', '-o', `size=${megabytes + 16}m`, 'tmpfs', base)
  try {
    mkdirSync(folder)
    writeFileSync(image, '')
    truncateSync(image, megabytes * 1024 * 1024)
    run('mkfs.ext4', '-q', '-m', '0', image)
    mount()
  } catch (error) {
    run('umount', base)
    throw error
  }
  const sync = () => run('sync', '-f', folder)
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
      throw new Error(`${folder} could not be filled`)
    },
    clear() {
      rmSync(full, { force: true })
      sync() // or it would be there again after a loss of power
    },
    sync,
    losePower() {
      const [shutdown, withoutJournal] = ['0x8004587D', '2']
      run('perl', '-e', `open(my $f, '<', $ARGV[0]) or die $!; my $how = pack('L', ${withoutJournal}); ioctl($f, ${shutdown}, $how) or die $!`, folder)
    },
    async powerOn() {
      killThoseIn(folder)
      await unmount(folder)
      mount()
    },
    async end() {
      killThoseIn(folder)
      for (const mounted of [folder, base]) await unmount(mounted).catch(() => run('umount', '-l', mounted))
      rmSync(base, { recursive: true, force: true })
    },
  }

  function mount(): void {
    // What is freed is given back to the memory.
    run('mount', '-o', 'loop,discard', image, folder)
  }
}

/** With the folders of system programs, which not every user's path has. Throws what the program says. */
function run(program: string, ...args: string[]): void {
  execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` } })
}

/** A backend of Postgres that waits for a lock outlives its postmaster, for ever. */
function killThoseIn(path: string): void {
  const folder = realpathSync(path)
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (`${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${folder}/`)) process.kill(Number(pid), 'SIGKILL')
    } catch {
      // It has ended meanwhile.
    }
  }
}

async function unmount(folder: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return run('umount', folder)
    } catch (error) {
      if (tries === 100) throw error
      await sleep(100)
    }
  }
}
