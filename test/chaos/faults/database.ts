// store/database.ts, telling on standard error which statements have had no answer for ten seconds.

import { writeSync } from 'node:fs'
import * as real from '../../../store/database.ts'

export * from '../../../store/database.ts'

export function openDatabase(...args: Parameters<typeof real.openDatabase>): real.Sql {
  const pending = new Map<object, { text: string; since: number }>()
  setInterval(() => {
    for (const { text, since } of pending.values()) {
      if (Date.now() - since > 10_000) writeSync(2, `unanswered: for ${Date.now() - since} ms: ${text}\n`)
    }
  }, 10_000).unref()
  const watch = (sql: real.Sql): real.Sql => new Proxy(sql, {
    apply(target, self, [first, ...rest]: [unknown, ...unknown[]]) {
      const query = Reflect.apply(target, self, [first, ...rest]) as Promise<unknown> & { then: Promise<unknown>['then'] }
      if (!Array.isArray(first) || !('raw' in first)) return query
      const key = {}
      const then = query.then.bind(query)
      query.then = ((yes: never, no: never) => {
        pending.set(key, { text: String(first).replace(/\s+/g, ' ').slice(0, 100), since: Date.now() })
        return then((value) => (pending.delete(key), value), (error) => { pending.delete(key); throw error }).then(yes, no)
      }) as never
      return query
    },
    get(target, name) {
      const value = Reflect.get(target, name)
      if (name !== 'begin') return value
      return (work: (tx: real.Sql) => unknown) => {
        const key = {}
        pending.set(key, { text: 'begin', since: Date.now() })
        return target.begin((tx) => work(watch(tx as unknown as real.Sql)) as never).finally(() => pending.delete(key))
      }
    },
  })
  return watch(real.openDatabase(...args))
}
