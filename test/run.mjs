// Runs every compiled test file under node's own test runner.

import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

function testFiles(folder) {
  return readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.test.js')).sort().map((name) => join(folder, name))
}
const named = process.argv.slice(2)
const { status } = spawnSync(process.execPath, ['--test', '--enable-source-maps', ...(named.length > 0 ? named : testFiles('dist'))], { stdio: 'inherit' })
process.exit(status ?? 1)
