import assert from 'node:assert/strict'
import { test } from 'node:test'
import { localNames, type NameSettings } from './local-names.ts'

const settings: NameSettings = { localDomains: { 'a.test': { recipients: ['ann'], catchAll: 'All@a.test' } }, subaddressDelimiter: '+', postmaster: 'postmaster@a.test' }
const names = (aliases: Record<string, string[]>, change: Partial<NameSettings> = {}) => localNames({ ...settings, ...change }, (address) => aliases[address])
const numbered = (count: number) => Array.from({ length: count }, (_, i) => `n${i}@b.test`)

test('an alias may stand for a thousand addresses, and no more', () => {
  for (const [count, is] of [[1000, 'addresses'], [1001, 'problem']] as const) {
    assert.deepEqual(Object.keys(names({ 'all@a.test': numbered(count) }).find('all@a.test')), [is])
    assert.deepEqual(Object.keys(names({ 'all@a.test': ['one@a.test', 'ann@a.test'], 'one@a.test': numbered(count - 1) }).find('all@a.test')), [is])
  }
})

test('an alias of an alias without targets stands for nobody, whatever circle is beside it', () => {
  const found = names({ 'x@a.test': ['empty@a.test', 'y@a.test'], 'empty@a.test': [], 'y@a.test': ['z@a.test'], 'z@a.test': ['y@a.test'] }).find('x@a.test')
  assert.deepEqual(found, { problem: 'empty' })
})

test('spellings of one address are one: they are followed once', () => {
  const found = names({ 'x@a.test': ['Ann@A.test', 'y@a.test'], 'y@a.test': ['ann@a.test', '"ann"@a.test', 'X@a.test'] }).find('x@a.test')
  assert.deepEqual(found, { addresses: ['Ann@A.test'] })
})

test('an alias with a tag goes before the one without', () => {
  const found = names({ 'x@a.test': ['ann@a.test'], 'x+news@a.test': ['ben@b.test'] })
  assert.deepEqual([found.find('X+news@a.test'), found.find('x+other@a.test')], [{ addresses: ['ben@b.test'] }, { addresses: ['ann@a.test'] }])
})

test('nobody stands in for themselves', () => {
  assert.deepEqual([names({}).instead('ALL@a.test'), names({}).find('eve@a.test')], [{ problem: 'unknown' }, { addresses: ['All@a.test'] }])
  for (const name of ['postmaster', 'abuse']) assert.deepEqual(names({}, { postmaster: `${name}@a.test` }).instead(`${name}@a.test`), { addresses: ['All@a.test'] })
  assert.deepEqual(names({}, { postmaster: 'ops@b.test' }).instead('Abuse@a.test'), { addresses: ['ops@b.test'] })
})
