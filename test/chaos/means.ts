// What a chaos run may do on this machine: as root it runs in namespaces of its own, where it may cut lines and fill a disk, and from
// which nothing is left behind.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { lacksDisk } from '../support/disk.ts'

export interface Means {
  /** A disk of its own. */
  disk: boolean
  /** Packets may be dropped. */
  packets: boolean
  /** Path of libfaketime; '' when it is not here. */
  faketime: string
}

const isAlone = process.env['EVERPOST_CHAOS_ALONE'] === 'yes'
const libraries = ['x86_64-linux-gnu', 'aarch64-linux-gnu'].map((platform) => `/usr/lib/${platform}/faketime/libfaketime.so.1`)

export function findMeans(): Means {
  return {
    disk: isAlone && !lacksDisk(),
    packets: isAlone && works('nft', 'list', 'ruleset'),
    faketime: libraries.find(existsSync) ?? '',
  }
}

/** The sentences that say what a run leaves out here, and what would bring it back. */
export function lacking({ disk, packets, faketime }: Means): string[] {
  return [
    ...(disk ? [] : [`no full disk and no loss of power: ${lacksDisk() || 'that needs unshare'}`]),
    ...(packets ? [] : ['no lines cut: that needs root, unshare and nft (Debian: nftables)']),
    ...(faketime ? [] : ['no wrong clocks: that needs libfaketime (Debian: faketime)']),
  ]
}

const unshare = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc']

/**
 * Starts a program of Node in namespaces of its own for mounts, network and processes, when the user may have them, else as it is. All
 * of its processes end with it. A shell stands above it, since somebody has to wait for orphans.
 */
export function spawnAlone(args: string[], stdio: 'inherit' | ['ignore', 'pipe', 'pipe']): ChildProcess {
  const may = process.getuid?.() === 0 && works('unshare', ...unshare, 'ip', 'link', 'set', 'lo', 'up')
  if (!may) return spawn(process.execPath, args, { stdio, env: { ...process.env, EVERPOST_CHAOS_ALONE: 'no' } })
  const inside = ['sh', '-c', 'ip link set lo up && "$@"; exit $?', 'sh', process.execPath, ...args]
  return spawn('unshare', [...unshare, ...inside], { stdio, env: { ...process.env, EVERPOST_CHAOS_ALONE: 'yes' } })
}

/** Whether the program has been started by spawnAlone. */
export function isInside(): boolean {
  return process.env['EVERPOST_CHAOS_ALONE'] !== undefined
}

function works(command: string, ...args: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
