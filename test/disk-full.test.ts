import assert from 'node:assert/strict'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startPostgres } from '../dev/postgres.ts'
import { openDatabase } from '../store/database.ts'
import { lacksDisk, mountDisk } from './support/disk.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test("Postgres' disk is full: mail is deferred with 452, nothing accepted is lost, and once there is room it goes on by itself", { skip: lacksDisk() }, async () => {
  const disk = mountDisk(mkdtempSync(join(tmpdir(), 'everpost-disk-')), 320)
  const open = (port = 0) => startPostgres({ folder: disk.folder, port, settings: { min_wal_size: '32MB', max_wal_size: '64MB' }, progress: () => {} })
  let postgres = await open()
  const everpost = await prepareEverpost({ database: { url: postgres.url } })
  const sql = openDatabase(postgres.url, 1, 'test')
  const accepted: string[] = []
  const refused: number[] = []
  const send = async (octets: number) => {
    const raw = `Subject: large\r\n\r\n${'x'.repeat(70)}\r\n`.padEnd(octets, `${'y'.repeat(70)}\r\n`)
    await everpost.send('box@example.test', 'sender@example.test', raw).then((id) => accepted.push(id), (error: { responseCode?: number }) => refused.push(error.responseCode ?? 0))
  }
  try {
    await everpost.start()
    await send(1000)
    await disk.fill()
    await until('mail is refused', async () => {
      await send(3_000_000)
      return refused.includes(452)
    })
    // 0: no reply, since Postgres and with it the answer went away; then the client does not know.
    assert.ok(refused.every((code) => [0, 421, 451, 452].includes(code)), String(refused))
    disk.clear()
    if (!isAlive(postgres.pid)) postgres = await open(postgres.port)
    await until('mail is accepted again', async () => {
      const before = accepted.length
      await send(1000)
      return accepted.length > before
    })
    const states = await until('all is delivered', async () => {
      const rows = await sql<{ id: string; state: string }[]>`select message_id as id, state from recipients`.catch(() => [])
      return rows.length > 0 && rows.every(({ state }) => state === 'delivered') && rows.map(({ id }) => id)
    })
    assert.deepEqual(accepted.filter((id) => !states.includes(id)), [])
    assert.ok(everpost.maildir('box').length >= accepted.length)
  } finally {
    await everpost.end()
    await sql.end({ timeout: 1 })
    await postgres.stop()
    await disk.end()
  }
})

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
