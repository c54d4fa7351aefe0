import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { pino } from 'pino'
import { settingsSchema } from '../settings/schema.ts'
import { setAlias } from '../store/aliases.ts'
import { openDatabase, type Sql } from '../store/database.ts'
import { testDatabase, turnClock } from '../test/support/database.ts'
import { until } from '../test/support/until.ts'
import { keepAliases, readAliases } from './aliases.ts'

const { sql, drop } = await testDatabase({ clock: true })
after(drop)
const settings = settingsSchema.parse({ aliases: { 'Both@a.test': 'settings@a.test', 'many@a.test': ['one@a.test', 'two@a.test'] } })

/** With all that it warns of. */
async function kept(of: Sql) {
  const warnings: string[] = []
  const log = pino({ level: 'warn' }, { write: (line: string) => void warnings.push(line) })
  const aliases = await keepAliases(settings, of, log)
  after(aliases.stop)
  return { warnings, ...aliases }
}

test('the aliases of the settings win, and are there without a database, which is complained of once', async () => {
  await setAlias(sql, 'both@a.test', ['database@a.test'])
  await setAlias(sql, 'only@a.test', ['database@a.test'])
  const aliases = await kept(sql)
  for (const each of [aliases, await readAliases(settings, sql)]) {
    const found = ['both@a.test', 'only@a.test', 'many@a.test', 'none@a.test'].map((address) => each.get(address)?.join())
    assert.deepEqual([found, each.complete()], [['settings@a.test', 'database@a.test', 'one@a.test,two@a.test', undefined], true])
  }

  let reads = 0
  const away = openDatabase('postgres://x:x@127.0.0.1:1/x', 1)
  const counting = new Proxy(away, { apply: (target, self, args) => {
    reads++
    return Reflect.apply(target, self, args)
  } })
  const alone = await kept(counting)
  assert.deepEqual([alone.get('both@a.test'), alone.get('only@a.test'), alone.complete()], [['settings@a.test'], undefined, false])
  await until('it looks again', () => reads > 2)
  assert.equal(alone.warnings.length, 1)
  after(() => away.end({ timeout: 0 }))
})

test('a change is seen though it was committed after a later one, and though the clock was set back; those known stay while they cannot be read', async () => {
  await setAlias(sql, 'first@a.test', ['old@a.test'])
  await setAlias(sql, 'second@a.test', ['old@a.test'])
  const aliases = await kept(sql)
  await sql.begin(async (tx) => {
    await setAlias(tx as unknown as Sql, 'first@a.test', ['new@a.test'])
    await setAlias(sql, 'second@a.test', ['new@a.test'])
    await until('the second is seen', () => aliases.get('second@a.test')?.[0] === 'new@a.test')
    assert.deepEqual(aliases.get('first@a.test'), ['old@a.test'])
  })
  await until('the first is seen', () => aliases.get('first@a.test')?.[0] === 'new@a.test')
  await turnClock(sql, -60)
  await setAlias(sql, 'first@a.test', ['newer@a.test'])
  await until('it is seen', () => aliases.get('first@a.test')?.[0] === 'newer@a.test')

  // The version can be read, the aliases cannot.
  await sql`alter table aliases rename column targets to gone`
  await sql`update aliases set gone = '{newest@a.test}', changed_at = now()`
  await until('it is complained of', () => aliases.warnings.length === 1)
  assert.deepEqual(aliases.get('first@a.test'), ['newer@a.test'])
  await sql`alter table aliases rename column gone to targets`
  await until('what could not be read is read', () => aliases.get('first@a.test')?.[0] === 'newest@a.test')
})
