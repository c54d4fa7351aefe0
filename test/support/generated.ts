// Files in the repository that are generated: a test holds each against what it would be now; `npm run generate` writes them.

import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Asserts that the file, named from the repository's root, holds this text. */
export function matchesFile(name: string, text: string): void {
  const path = fileURLToPath(new URL(`../../../${name}`, import.meta.url))
  if (process.env['EVERPOST_GENERATE']) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
    return
  }
  assert.equal(readFileSync(path, 'utf8'), text, `${name} is out of date. Run: npm run generate`)
}
