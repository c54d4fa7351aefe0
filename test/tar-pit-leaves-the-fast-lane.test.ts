import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('a host that says nothing holds a first attempt no longer than the fast lane lasts, also while memory is collected; operators are answered', async () => {
  const peer = await startPeer({ greeting: 'silent' })
  const everpost = await prepareEverpost({ transfer: { fastLane: '1s' }, routes: [{ domain: 'pit.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  try {
    const collect = join(everpost.folder, 'collect.mjs')
    writeFileSync(collect, 'setInterval(() => globalThis.gc(), 50).unref()')
    await everpost.start('serve', { NODE_OPTIONS: `--expose-gc --import=${pathToFileURL(collect)}` })
    const id = await everpost.send('x@pit.test')
    await until('it goes on as an activity of its own', async () => (await readAttempts(everpost.sql, id, 9)).length > 0)
    const [only, ...others] = await readAttempts(everpost.sql, id, 9)
    assert.deepEqual([only!.endedAt, only!.lost, others], [null, false, []])
    assert.equal((await everpost.command('drop', id, '--yes')).code, 0)
  } finally {
    await everpost.end()
    await peer.close()
  }
})
