import assert from 'node:assert/strict'
import { test } from 'node:test'
import { matchesFile } from '../test/support/generated.ts'
import { settingsReference } from './reference.ts'

test('docs/settings.md is what the schema says', () => matchesFile('docs/settings.md', settingsReference()))

test('every key says what it is for, and what has a unit says of which kind', () => {
  const rows = settingsReference().split('\n').filter((line) => line.startsWith('| `')).map((line) => line.split(' | '))
  assert.ok(rows.length > 150)
  assert.deepEqual(rows.filter((cells) => cells.at(-1)!.replace(/[ |]/g, '') === '').map(([key]) => key), [])
  const formOf = (key: string) => rows.find(([cell]) => cell === `| \`${key}\``)?.[1]
  assert.deepEqual(
    ['rules[].then.schedule', 'rules[].then.for', 'rules[].then.giveUpAfter', 'limits[].rate', 'minimalBackoffTime', 'messageSize'].map(formOf),
    ['list of durations', 'duration', 'duration', 'rate, or null', 'duration', 'size'],
  )
})
