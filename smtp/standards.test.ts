// The pages on standards: whoever reads "yes" can look the test up.

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

interface Citation {
  file: string
  /** Of its title: what stands between the dots that leave words out. */
  words: string[]
}

/** The tests that a cell names, parted by semicolons: files, with words of titles behind a colon; `name` stands for ingress/name.test.ts. */
function citations(cell: string): Citation[] {
  let file = ''
  return cell.split('; ').map((part) => {
    const [, short, long, title] = /^(?:`([\w./-]+)`|([\w./-]+\.test\.ts))(?:: (.*)|, all of them)?$/.exec(part) ?? [null, '', '', part]
    if (short) file = short.includes('/') ? `${short}.test.ts` : `ingress/${short}.test.ts`
    else if (long) file = long
    return { file, words: (title ?? '').split('...').map((each) => each.trim()) }
  })
}

function isThere({ file, words }: Citation): boolean {
  const path = `${root}${file}`
  return file !== '' && existsSync(path) && words.every((each) => readFileSync(path, 'utf8').includes(each))
}

for (const page of ['outbound', 'inbound', 'reports']) {
  test(`every rule that docs/standards-${page}.md says yes to names a test that is there`, () => {
    const rows = readFileSync(`${root}docs/standards-${page}.md`, 'utf8').split('\n').map((line) => line.split(' | ')).filter(([, state]) => /^yes\b/.test(state ?? ''))
    assert.ok(rows.length > 20)
    assert.deepEqual(rows.flatMap(([rule, , cell]) => citations((cell ?? '').replace(/ \|$/, '')).filter((each) => !isThere(each)).map((each) => ({ rule, ...each }))), [])
  })
}
