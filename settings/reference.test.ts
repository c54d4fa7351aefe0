import { test } from 'node:test'
import { matchesFile } from '../test/support/generated.ts'
import { settingsReference } from './reference.ts'

test('docs/settings.md is what the schema says', () => matchesFile('docs/settings.md', settingsReference()))
