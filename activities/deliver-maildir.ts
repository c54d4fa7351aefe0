// Delivery into a Maildir: written to tmp, synced, renamed into new. The name is that of message and recipient, so that a
// repetition after a crash puts the same file there once.

import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { Outcome } from '../mail/outcome.ts'
import { local } from '../mail/verdict.ts'
import { withLf } from './line-ends.ts'

export interface MaildirRequest {
  path: string
  /** Queue id, and position of the recipient in the envelope. */
  id: string
  n: number
  acceptedAt: Date
  hostname: string
  /** Whether an attempt before this one may have delivered it. */
  again: boolean
  /** Return-Path first, CRLF line ends. */
  content: AsyncIterable<Uint8Array>
}

export async function deliverMaildir(request: MaildirRequest): Promise<Outcome> {
  const { path, id, n } = request
  const host = request.hostname.replaceAll('/', '\\057').replaceAll(':', '\\072')
  const name = `${Math.floor(request.acceptedAt.getTime() / 1000)}.${id}R${n}.${host}`
  const temporary = join(path, 'tmp', name)
  try {
    for (const folder of ['tmp', 'new', 'cur']) await makeFolder(join(path, folder))
    if (request.again && (await isThere(path, name))) {
      // Whoever put it there may have died before it was for good.
      for (const folder of ['new', 'cur']) await syncFolder(join(path, folder))
      return local('delivered', '2.0.0', `in ${path} already`)
    }
    const file = await open(temporary, 'w', 0o600)
    try {
      for await (const chunk of withLf(request.content)) await file.writeFile(chunk)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, join(path, 'new', name))
    await syncFolder(join(path, 'new'))
    return local('delivered', '2.0.0', `delivered to ${path}`)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    const { code } = error as NodeJS.ErrnoException
    // Only a fault of the file system is an outcome; the content comes from the database, and its faults are thrown.
    if (code === undefined || (error as NodeJS.ErrnoException).syscall === undefined) throw error
    if (code === 'ENAMETOOLONG') return local('bounced', '5.1.3', `the address is too long for a folder: ${path}`)
    const enhanced = code === 'ENOSPC' || code === 'EDQUOT' ? '4.2.2' : '4.3.0'
    return local('deferred', enhanced, `cannot deliver to ${path}: ${(error as Error).message}. Check the folder, its owner and its space.`)
  }
}

/** In new, or in cur with whatever flags the reader's client gave it. */
async function isThere(path: string, name: string): Promise<boolean> {
  if ((await readdir(join(path, 'new'))).includes(name)) return true
  return (await readdir(join(path, 'cur'))).some((file) => file === name || file.startsWith(`${name}:`))
}

/** With those above it, each for good in the one that holds it. */
async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  for (let at = resolve(path), top = resolve(dirname(first)); at !== top; at = dirname(at)) await syncFolder(dirname(at))
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
