import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { freePort } from '../dev/ports.ts'
import { startPostgres } from '../dev/postgres.ts'
import { openDatabase } from '../store/database.ts'
import { findMeans } from './chaos/means.ts'
import { diagnose, doctorCommand, of } from './support/doctor.ts'
import { prepareEverpost } from './support/everpost.ts'
import { needs } from './support/packages.ts'
import { until } from './support/until.ts'

test('clocks that are apart: of both servers, ahead and behind, and by how much', { skip: needs('faketime') }, async () => {
  const everpost = await prepareEverpost()
  try {
    await everpost.start()
    for (const [offset, words] of [['-1h', 'ahead of'], ['+10s', 'behind']] as const) {
      // The library by itself: the command `faketime` keeps its own in memory that is shared by process number, which may collide.
      const env = {
        ...process.env, LD_PRELOAD: findMeans().faketime, FAKETIME: offset, FAKETIME_DONT_FAKE_MONOTONIC: '1', FAKETIME_DISABLE_SHM: '1', DATABASE_URL: '', TEMPORAL_ADDRESS: '',
      }
      const [command, ...args] = doctorCommand(everpost)
      const said = await promisify(execFile)(command!, args, { cwd: everpost.folder, env }).catch((error: { stdout: string; stderr: string }) => error)
      assert.match(said.stdout, /^\{/, said.stderr)
      const clocks = of(JSON.parse(said.stdout), 'clock').map(({ what }) => what)
      const far = offset === '-1h' ? /(1h|1 h|60 ?min)/ : /(9|10) ?s/
      for (const server of ['Postgres', 'Temporal']) {
        const found = clocks.find((what) => what.startsWith(`the clock of ${server} is`))
        assert.match(found ?? '', new RegExp(`${words} this machine's`), `${offset}: ${clocks}`)
        assert.match(found!, far)
      }
    }
  } finally {
    await everpost.end()
  }
})

/** A file system of its own, of so many octets; null where this process may not mount one. */
function mountSmall(options: string): { folder: string; unmount(): void } | null {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder], { stdio: 'ignore' })
  } catch {
    rmSync(folder, { recursive: true })
    return null
  }
  return {
    folder,
    unmount() {
      execFileSync('umount', ['-l', folder])
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

test('disks that are full, and one without inodes: of Postgres, and of the Maildirs', async (context) => {
  const disk = mountSmall('size=200m,mode=755')
  if (!disk) return context.skip('needs the right to mount a tmpfs (root)')
  const small = mountSmall('size=10m,nr_inodes=60,mode=755')!
  const postgres = await startPostgres({ folder: disk.folder, settings: { min_wal_size: '32MB', max_wal_size: '32MB' }, progress: () => {} })
  mkdirSync(join(disk.folder, 'mail'))
  const everpost = await prepareEverpost({
    database: { url: postgres.url }, localDomains: {
      'full.test': { deliver: 'maildir', path: join(disk.folder, 'mail/{localpart}') }, 'inodes.test': { deliver: 'maildir', path: join(small.folder, '{localpart}') },
    },
  })
  try {
    assert.equal((await everpost.command('migrate')).code, 0)
    assert.deepEqual(of(await diagnose(everpost), 'disk'), [])
    const { bavail, bsize } = statfsSync(disk.folder)
    writeFileSync(join(disk.folder, 'filler'), Buffer.alloc(bavail * bsize - 4 * 1024 * 1024))
    for (let i = 0; statfsSync(small.folder).ffree > 0; i++) writeFileSync(join(small.folder, String(i)), '')
    const found = of(await diagnose(everpost), 'disk').map(({ what, todo }) => `${what}: ${todo}`)
    assert.match(found.find((what) => what.includes('(the data of Postgres)')) ?? '', /^only 0\.0 GiB of 0\.2 free under .* all mail is deferred with 452\.$/, String(found))
    assert.match(found.find((what) => what.includes('(the Maildirs of full.test)')) ?? '', /^only 0\.0 GiB .* mail for full\.test waits\.$/)
    assert.match(found.find((what) => what.includes('(the Maildirs of inodes.test)')) ?? '', /^only 0 of 60 inodes free .* mail for inodes\.test waits\.$/)
  } finally {
    await everpost.end()
    await postgres.stop()
    small.unmount()
    disk.unmount()
  }
})

test('a Postgres that is away, lacks the schema, would lose mail in a power cut, or has no connection left', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-postgres-'))
  const postgres = await startPostgres({ folder, settings: { fsync: 'off', full_page_writes: 'off', max_connections: '20' }, progress: () => {} })
  const everpost = await prepareEverpost({ database: { url: postgres.url } })
  const away = await prepareEverpost({ database: { url: `postgres://x:x@127.0.0.1:${await freePort()}/x` } }, everpost.temporal)
  // A role that may not know where the data lies.
  const plain = await prepareEverpost({ database: { url: Object.assign(new URL(postgres.url), { username: 'plain', password: 'plain' }).href } }, everpost.temporal)
  const many = openDatabase(postgres.url, 18)
  try {
    assert.match(of(await diagnose(away), 'postgres')[0]!.what, /^Postgres does not answer: .*ECONNREFUSED/)
    const before = of(await diagnose(everpost), 'postgres').map(({ what }) => what)
    assert.ok(before.some((what) => what.startsWith('fsync is off')) && before.some((what) => what.startsWith('full_page_writes is off')), String(before))
    assert.ok(before.some((what) => /^the schema lacks 001_queue/.test(what)))
    assert.equal((await everpost.command('migrate')).code, 0)
    const unseen = /^The disk of Postgres cannot be seen from here/
    assert.ok(!(await diagnose(everpost)).notes.some((note) => unseen.test(note)))
    await many`create role plain login password 'plain'`
    assert.ok((await diagnose(plain)).notes.some((note) => unseen.test(note)))
    const held = Array.from({ length: 18 }, () => many`select pg_sleep(60)`.catch(() => {}))
    const full = await until('they are taken', async () => {
      const found = of(await diagnose(everpost), 'postgres').map(({ what }) => what)
      return found.some((what) => /^(19|20) of 20 connections are in use/.test(what)) && found
    })
    assert.deepEqual(full.filter((what) => what.includes('schema')), [])
    await many.end({ timeout: 0 })
    await Promise.all(held)
  } finally {
    await many.end({ timeout: 0 })
    await Promise.all([everpost.end(), away.end(), plain.end()])
    await postgres.stop()
    rmSync(folder, { recursive: true, force: true })
  }
})

test('an outbox that is nearly full, before it refuses mail; a namespace that is not there', async () => {
  const everpost = await prepareEverpost({ limits: { outbox: 5 }, temporal: { address: `127.0.0.1:${await freePort()}` } })
  const nowhere = await prepareEverpost({ temporal: { address: everpost.temporal, namespace: 'nowhere' } }, everpost.temporal)
  try {
    await everpost.start('ingress')
    for (let i = 0; i < 4; i++) await everpost.send('x@example.test')
    await everpost.sql`update messages set accepted_at = now() - interval '5 minutes'`
    assert.match(of(await diagnose(everpost), 'backlog')[0]!.what, /^limits\.outbox \(5\) is nearly reached/)
    const { what, todo } = of(await diagnose(nowhere), 'temporal')[0]!
    assert.match(what, /^Temporal has no namespace nowhere/)
    assert.match(todo, /temporal operator namespace create --address \S+ --namespace nowhere;/)
  } finally {
    await Promise.all([everpost.end(), nowhere.end()])
  }
})
