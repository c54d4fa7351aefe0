// Runs the tests: one Postgres and one Temporal for all files, each with a database of its own, under node's test runner. `npm test -- FILE`
// runs some of them. In CI the fuzzers run for a minute each beside them, on what they leave of the machine.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { constants, setPriority, tmpdir } from 'node:os'
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
const env = { ...process.env, EVERPOST_TEST_DATABASE_URL: database.url, EVERPOST_TEST_TEMPORAL: temporal.address }
const options = ['--test', '--enable-source-maps', '--test-concurrency=2']
const fuzzers = process.env['CI'] && named.length === 0 ? startFuzzers() : null
const runner = spawn(process.execPath, [...options, ...(named.length > 0 ? named : found)], { stdio: 'inherit', env })
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {
  runner.kill(signal)
  fuzzers?.child.kill(signal)
})
process.exitCode = await new Promise<number>((resolve) => runner.on('exit', (code) => resolve(code ?? 1)))
if (fuzzers && !(await fuzzers.passed)) {
  console.log(fuzzers.output())
  process.exitCode = 1
}
await temporal.stop()
await database.stop()
rmSync(folder, { recursive: true, force: true })

/** Says nothing meanwhile, so that the summary of the tests stays the last word where all is well. */
function startFuzzers(): { child: ChildProcess; passed: Promise<boolean>; output: () => string } {
  const files = found.filter((name) => name.startsWith(join(dist, 'test/fuzz/')))
  const child = spawn(process.execPath, [...options, ...files], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...env, EVERPOST_FUZZ_SECONDS: '60' } })
  setPriority(child.pid!, constants.priority.PRIORITY_LOW)
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => { said += text })
  return { child, passed: new Promise((resolve) => child.once('close', (code) => resolve(code === 0))), output: () => said }
}
