import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const read = (path: string) => readFileSync(join(root, path), 'utf8')

/** Which folders and files a folder may import from, beside itself: the last column of the table under Layout in ARCHITECTURE.md. */
const mayImport = new Map([...read('ARCHITECTURE.md').split('## Layout')[1]!.matchAll(/^\| (`.*?) \|.*\| (.*?) ?\|$/gm)].flatMap(([, folders, last]) => {
  const from = last!.split('`')[1]?.split(' ').map((path) => path.replace(/\/$/, '')) ?? []
  return [...folders!.matchAll(/`(\w+)\/`/g)].map(([, folder]) => [folder!, from] as const)
}))

const isTest = (path: string) => /\.test\.ts$|\/testing[^/]*\.ts$|^(test|bench)\//.test(path)
const files = [...mayImport.keys()].flatMap((folder) => {
  try {
    return readdirSync(join(root, folder), { recursive: true }).map((name) => `${folder}/${String(name)}`).filter((path) => path.endsWith('.ts'))
  } catch {
    return []
  }
})
const texts = new Map(files.map((path) => [path, read(path)]))
const lines = (path: string) => texts.get(path)!.split('\n')

test('a folder imports only what the table allows', () => {
  const built = (JSON.parse(read('tsconfig.json')) as { include: string[] }).include
  assert.deepEqual(built.filter((folder) => !files.some((path) => path.startsWith(`${folder}/`))), [], 'built, and not in the table')
  const wrong = files.filter((path) => !isTest(path)).flatMap((path) => {
    const folder = path.split('/')[0]!
    const imports = [...texts.get(path)!.matchAll(/(?:from|import\()\s*'(\.\.\/[^']+)'/g)].map((match) => match[1]!.replace('../', '').replace(/\.ts$/, ''))
    const allowed = [folder, ...mayImport.get(folder)!]
    return imports.filter((target) => !allowed.some((each) => target === each || target.startsWith(`${each}/`))).map((target) => `${path} imports ${target}`)
  })
  assert.deepEqual(wrong, [])
})

test('workflows import only types of the activities, and nothing of Node', () => {
  const wrong = files.filter((path) => path.startsWith('workflows/') && !isTest(path)).flatMap((path) =>
    lines(path).filter((line) => /^import (?!type).*from '(\.\.\/activities|node:)/.test(line)).map((line) => `${path}: ${line}`))
  assert.deepEqual(wrong, [])
})

test('what is compared with a time in Postgres goes by its clock, not by that of the machine', () => {
  // They measure how long something took, tell people when it was, make an id or take one apart; or they keep the clock.
  const own = [
    'activities/hand-off.ts', 'activities/make-report.ts', 'activities/record-attempt.ts', 'store/clock.ts', 'store/database.ts', 'store/shape.ts',
  ]
  const wrong = files.filter((path) => !isTest(path) && !own.includes(path) && /^(activities|gate|store)\//.test(path))
  assert.deepEqual(wrong.filter((path) => /Date\.now\(\)|new Date\(\)/.test(texts.get(path)!)), [])
})

test('every file opens with what it is; none is long, the median is short, no line runs off the page', () => {
  const source = files.filter((path) => !path.endsWith('.test.ts'))
  assert.deepEqual(source.filter((path) => !lines(path)[0]!.startsWith('// ')), [])
  assert.deepEqual(files.filter((path) => lines(path).length > 350), [])
  const lengths = files.map((path) => lines(path).length).sort((a, b) => a - b)
  assert.ok(lengths[Math.floor(lengths.length / 2)]! < 130)
  assert.deepEqual(files.flatMap((path) => lines(path).map((line, i) => [line.length, `${path}:${i + 1}`] as const).filter(([length]) => length > 200).map(([, where]) => where)), [])
})

test('what a folder exports is used by another file, or is its own business', () => {
  const all = [...texts.values()].join('\n')
  const unused = files.filter((path) => !isTest(path)).flatMap((path) =>
    [...texts.get(path)!.matchAll(/^export (?:async )?(?:function\*?|const|class) (\w+)/gm)].map((match) => match[1]!)
      .filter((name) => all.split(new RegExp(`\\b${name}\\b`)).length <= 2).map((name) => `${path}: ${name}`))
  assert.deepEqual(unused, [])
})
