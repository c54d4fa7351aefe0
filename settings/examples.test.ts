import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { settingsSchema } from './schema.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

test('every settings example of the pages is read without a fault', () => {
  const examples = ['README.md', 'docs/setting-up.md', 'docs/operating.md'].flatMap((page) =>
    [...readFileSync(`${root}${page}`, 'utf8').matchAll(/^```yaml\n(.*?)^```$/gms)].map((match) => ({ page, text: match[1]! })))
  assert.ok(examples.length >= 7)
  const faults = examples.flatMap(({ page, text }) => (settingsSchema.safeParse(parse(text)).error?.issues ?? []).map(({ path, message }) => `${page}: ${path.join('.')}: ${message}`))
  assert.deepEqual(faults, [])
})
