import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startPostgres } from '../dev/postgres.ts'
import { openDatabase } from '../store/database.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('a Postgres that would forget what it committed is refused at start, by name of the setting, until it is mended', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-durability-'))
  const postgres = await startPostgres({ folder, progress: () => {} })
  const sql = openDatabase(postgres.url, 1, 'test')
  const everpost = await prepareEverpost({ database: { url: postgres.url } })
  const set = async (name: string, value: string) => {
    await sql.unsafe(`alter system set ${name} = ${value}`)
    await sql`select pg_reload_conf()`
    await until(`${name} is ${value}`, async () => (await sql`select from pg_settings where name = ${name} and setting = ${value}`).length === 1)
  }
  try {
    for (const name of ['fsync', 'full_page_writes', 'synchronous_commit']) {
      await set(name, 'off')
      await assert.rejects(everpost.start(), /ended with exit code [1-9]/)
      const { code, stderr } = await everpost.command('ingress')
      assert.equal(code, 78)
      assert.match(stderr, new RegExp(`^everpost: Postgres would lose accepted mail: ${name} is off\\. Turn it on.*\n$`))
      await set(name, 'on')
    }
    await everpost.start()
  } finally {
    await everpost.end()
    await sql.end()
    await postgres.stop()
    rmSync(folder, { recursive: true })
  }
})
