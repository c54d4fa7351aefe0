import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8')

test('every rule that docs/standards-outbound.md says yes to names a test that is there', () => {
  const rows = read('docs/standards-outbound.md').split('\n').filter((line) => /^\| .* \| (yes|partly|no) \| /.test(line))
    .map((line) => line.split(' | ').map((cell) => cell.replace(/^\| | \|$/g, '')))
  assert.ok(rows.length > 40)
  const missing = rows.filter(([, state]) => state === 'yes').filter(([, , where]) => {
    const [, file, title] = /^(\S+\.test\.ts): (.*)$/.exec(where!) ?? []
    return file === undefined || !read(file).includes(title!)
  })
  assert.deepEqual(missing, [])
})
