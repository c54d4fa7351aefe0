import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

test('each test that docs/security.md and docs/reliability.md name is there', () => {
  for (const page of ['docs/security.md', 'docs/reliability.md']) {
    const text = readFileSync(join(root, page), 'utf8')
    const files = [...text.matchAll(/`([\w./-]+\.test\.ts)`/g)].map((match) => match[1]!)
    assert.ok(files.length > 5)
    assert.deepEqual(files.filter((file) => !existsSync(join(root, file))), [])
    const titles = [...text.matchAll(/`([\w./-]+\.test\.ts)`: "([^"]+)"/g)].map(([, file, title]) => ({ file: file!, title: title! }))
    const begins = ({ file, title }: { file: string; title: string }) => {
      const source = readFileSync(join(root, file), 'utf8')
      return ["'", '"', '`'].some((quote) => source.includes(`test(${quote}${title}`))
    }
    assert.deepEqual(titles.filter((each) => !begins(each)), [], page)
  }
})
