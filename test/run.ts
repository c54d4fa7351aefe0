// Runs the tests: one Postgres and one Temporal for all files, each with a database of its own, under node's test runner. `npm test -- FILE`
// runs some of them.

import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startPostgres } from '../dev/postgres.ts'
import { startTemporal } from '../dev/temporal.ts'
import { searchAttributes } from '../mail/search.ts'

const dist = fileURLToPath(new URL('..', import.meta.url))
const named = process.argv.slice(2).map((name) => join(dist, name.replace(/\.ts$/, '.js')))
const found = readdirSync(dist, { recursive: true }).map(String).filter((name) => name.endsWith('.test.js')).sort().map((name) => join(dist, name))

const folder = mkdtempSync(join(tmpdir(), 'everpost-tests-'))
const database = await startPostgres({ folder, progress: (line) => console.log(line) })
const temporal = await startTemporal({ folder: join(folder, 'temporal'), searchAttributes, progress: (line) => console.log(line) })
const runner = spawn(process.execPath, ['--test', '--enable-source-maps', '--test-concurrency=2', ...(named.length > 0 ? named : found)], {
  stdio: 'inherit',
  env: { ...process.env, EVERPOST_TEST_DATABASE_URL: database.url, EVERPOST_TEST_TEMPORAL: temporal.address },
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => runner.kill(signal))
process.exitCode = await new Promise<number>((resolve) => runner.on('exit', (code) => resolve(code ?? 1)))
await temporal.stop()
await database.stop()
rmSync(folder, { recursive: true, force: true })
