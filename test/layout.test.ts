import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

/** Which folders a folder may import from, beside itself. Tests may import anything. ARCHITECTURE.md says why. */
const mayImport: Record<string, string[]> = {
  mail: [],
  settings: ['mail'],
  smtp: ['mail'],
  store: ['mail'],
  workflows: ['mail', 'activities/types'],
  activities: ['mail', 'settings', 'smtp', 'store'],
  ingress: ['mail', 'settings', 'store'],
  worker: ['activities', 'mail/search', 'settings', 'store', 'workflows/interface'],
  console: ['mail', 'store', 'workflows/interface'],
  dev: [],
  cli: ['mail', 'settings', 'smtp', 'store', 'ingress', 'worker', 'console', 'workflows/interface', 'dev'],
}

const root = fileURLToPath(new URL('../../', import.meta.url))
const isTest = (path: string) => /\.test\.ts$|\/testing[^/]*\.ts$|^(test|bench)\//.test(path)
const files = [...Object.keys(mayImport), 'test', 'bench'].flatMap((folder) => {
  try {
    return readdirSync(join(root, folder), { recursive: true }).map((name) => `${folder}/${String(name)}`).filter((path) => path.endsWith('.ts'))
  } catch {
    return []
  }
})
const texts = new Map(files.map((path) => [path, readFileSync(join(root, path), 'utf8')]))
const lines = (path: string) => texts.get(path)!.split('\n')

test('a folder imports only what the table allows', () => {
  assert.ok(files.length > 80)
  const wrong = files.filter((path) => !isTest(path)).flatMap((path) => {
    const folder = path.split('/')[0]!
    const imports = [...texts.get(path)!.matchAll(/(?:from|import\()\s*'(\.\.\/[^']+)'/g)].map((match) => match[1]!.replace('../', '').replace(/\.ts$/, ''))
    return imports.filter((target) => ![folder, ...mayImport[folder]!].some((allowed) => target === allowed || target.startsWith(`${allowed}/`))).map((target) => `${path} imports ${target}`)
  })
  assert.deepEqual(wrong, [])
})

test('workflows import only types of the activities, and nothing of Node', () => {
  const wrong = files.filter((path) => path.startsWith('workflows/')).flatMap((path) =>
    lines(path).filter((line) => /^import (?!type).*from '(\.\.\/activities|node:)/.test(line)).map((line) => `${path}: ${line}`))
  assert.deepEqual(wrong, [])
})

test('what is compared with a time in Postgres goes by its clock, not by that of the machine', () => {
  // They measure how long something took, tell people when it was, make an id or take one apart; or they keep the clock.
  const own = [
    'activities/hand-off.ts', 'activities/make-report.ts', 'activities/record-attempt.ts', 'store/clock.ts', 'store/database.ts', 'store/shape.ts',
  ]
  const wrong = files.filter((path) => !isTest(path) && !own.includes(path) && (/^(activities|store)\//.test(path) || path === 'worker/destinations.ts'))
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
