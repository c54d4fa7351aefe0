// Builds the workflow bundle ahead of time, as a step of `npm run build`; a worker never bundles while it runs.

import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { bundleWorkflowCode } from '@temporalio/worker'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const target = here('workflow-bundle.js')
const stamp = `${target}.inputs`

// The bundle must come from the very SDK that runs it, so its version counts among the inputs.
const hash = createHash('sha256').update(createRequire(import.meta.url)('@temporalio/worker/package.json').version)
for (const folder of ['../workflows/', '../mail/']) {
  for (const name of readdirSync(here(folder)).filter((name) => name.endsWith('.js') && !name.includes('.test.')).sort()) {
    hash.update(name).update(readFileSync(here(folder + name)))
  }
}
const inputs = hash.digest('hex')

if (read(stamp) !== inputs || read(target) === null) {
  const quiet = { trace() {}, debug() {}, info() {}, log() {}, warn: console.warn, error: console.error }
  const { code } = await bundleWorkflowCode({ workflowsPath: here('../workflows/index.js'), preloadModules: [here('../workflows/index.js')], logger: quiet })
  writeFileSync(target, code)
  writeFileSync(stamp, inputs)
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
