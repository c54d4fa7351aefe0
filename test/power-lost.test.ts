import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startPostgres } from '../dev/postgres.ts'
import { openDatabase } from '../store/database.ts'
import { type Disk, lacksDisk, mountDisk } from './support/disk.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

const skip = lacksDisk()
const newDisk = () => mountDisk(mkdtempSync(join(tmpdir(), 'everpost-power-')), 512)
const open = (disk: Disk, port = 0) => startPostgres({
  // What was not waited for is not written by chance.
  folder: disk.folder, port, settings: { max_wal_size: '64MB', wal_writer_delay: '10s', autovacuum: 'off' }, progress: () => {},
})

test('the machine loses its power, again and again: what was answered 250 is in a Maildir or still queued, and then delivered', { skip }, async () => {
  const disk = newDisk()
  let postgres = await open(disk)
  const mail = join(disk.folder, 'mail')
  const everpost = await prepareEverpost({
    database: { url: postgres.url }, localDomains: { 'example.test': { deliver: 'maildir', path: `${mail}/{localpart}` } },
  })
  const accepted: string[] = []
  let on = false // clients send
  /** Queue ids of the whole files in the Maildir. */
  const delivered = () => {
    const folder = join(mail, 'box', 'new')
    const whole = (name: string) => readFileSync(join(folder, name), 'latin1').endsWith('\n\nHello.\n')
    return new Set(existsSync(folder) ? readdirSync(folder).filter(whole).map((name) => /\.(\w+)R0\./.exec(name)![1]!) : [])
  }
  try {
    for (let loss = 1; loss <= 4; loss++) {
      const everything = await everpost.start()
      disk.sync() // what initdb and dev/postgres.ts have made
      on = true
      const clients = Array.from({ length: 6 }, async () => {
        while (on) await everpost.send('box@example.test').then((id) => accepted.push(id), () => sleep(10))
      })
      const before = accepted.length
      await until(`mail flows before loss ${loss}`, () => accepted.length > before + 40 * loss && delivered().size > 0)
      disk.losePower()
      const gone = everpost.stop(everything, 'SIGKILL')
      process.kill(postgres.pid, 'SIGKILL')
      on = false
      await Promise.all([gone, ...clients])
      await disk.powerOn()
      await postgres.stop()
      postgres = await open(disk, postgres.port)
      const states = new Map((await recipients(postgres.url)).map(({ id, state }) => [id, state]))
      assert.deepEqual(accepted.filter((id) => !states.has(id)), [], `accepted, and lost with power ${loss}`)
      // What the record calls delivered must have been on the disk before the record was.
      const there = delivered()
      assert.deepEqual([...states].filter(([id, state]) => state === 'delivered' && !there.has(id)), [], `delivered, and lost with power ${loss}`)
    }
    await everpost.start()
    await until('all is delivered', async () => (await recipients(postgres.url)).every(({ state }) => state === 'delivered'), 240_000)
    const there = delivered()
    assert.deepEqual(accepted.filter((id) => !there.has(id)), [])
  } finally {
    on = false
    await everpost.end()
    await postgres.stop().catch(() => {}) // its pid file is on a disk without power, when the test failed there
    await disk.end()
  }
})

async function recipients(url: string): Promise<{ id: string; state: string }[]> {
  const sql = openDatabase(url, 1, 'test')
  try {
    return await sql`select message_id as id, state from recipients`
  } finally {
    await sql.end()
  }
}

test('such a loss of power does forget: a commit that did not wait for the disk is gone', { skip }, async () => {
  const disk = newDisk()
  let postgres = await open(disk)
  try {
    const sql = openDatabase(postgres.url, 1, 'test')
    await sql`create table commits (waited boolean)`
    disk.sync()
    await sql`insert into commits values (true)`
    await sql`set synchronous_commit = off`
    await sql`insert into commits values (false)`
    disk.losePower()
    process.kill(postgres.pid, 'SIGKILL')
    await sql.end({ timeout: 1 })
    await disk.powerOn()
    await postgres.stop()
    postgres = await open(disk, postgres.port)
    const again = openDatabase(postgres.url, 1, 'test')
    assert.deepEqual([...(await again`select waited from commits`)], [{ waited: true }])
    await again.end()
  } finally {
    await postgres.stop()
    await disk.end()
  }
})
