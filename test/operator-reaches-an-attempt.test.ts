import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test("an operator's word reaches an attempt that hangs before its dot: it ends, what was rerouted goes the other way, who was bounced is reported, and who is left is tried again", async () => {
  const [silent, backup] = [await startPeer({ greeting: 'silent' }), await startPeer()]
  const everpost = await prepareEverpost({ transfer: { fastLane: '500ms' }, routes: [{ domain: 'pit.test', nextHop: `[127.0.0.1]:${silent.port}` }] })
  const hangs = (id: string, recipients: number[]) => until('an attempt hangs', async () => {
    const [last] = await readAttempts(everpost.sql, id, 1)
    return last && !last.endedAt && last.recipients.join() === recipients.join()
  })
  try {
    await everpost.start()
    const rerouted = await everpost.send('x@pit.test')
    await hangs(rerouted, [0])
    assert.equal((await everpost.command('reroute', rerouted, '--to', `[127.0.0.1]:${backup.port}`)).code, 0)
    assert.deepEqual(await everpost.states(rerouted), ['delivered'])

    const parted = await everpost.send(['x@pit.test', 'y@pit.test'], 'bob@example.test')
    await hangs(parted, [0, 1])
    assert.equal((await everpost.command('bounce', parted, '--recipient', 'x@pit.test')).code, 0)
    await hangs(parted, [1])
    assert.equal((await everpost.command('bounce', parted)).code, 0)
    assert.deepEqual(await everpost.states(parted), ['bounced', 'bounced'])
    assert.deepEqual((await readRecipients(everpost.sql, parted, 2)).map(({ attempts }) => attempts), [0, 0])
    await until('the sender is told', () => everpost.maildir('bob').length > 0)
  } finally {
    await everpost.end()
    await Promise.all([silent.close(), backup.close()])
  }
})

test('what is planned for a next hop and waits in line for it goes the other way once it is rerouted: the old one sees no more of it', async () => {
  const [old, backup] = [await startPeer({ rcpt: { '*': 'silent' } }), await startPeer()]
  const nextHop = `[127.0.0.1]:${old.port}`
  const everpost = await prepareEverpost({
    transfer: { fastLane: '500ms' }, routes: [{ domain: 'pit.test', nextHop }], destinations: { limits: [{ destination: nextHop, concurrency: 2 }] },
  })
  const asked = () => old.commands.filter((line) => line.startsWith('RCPT')).map((line) => line.slice(9, -1))
  try {
    await everpost.start()
    const ids = await Promise.all(Array.from({ length: 6 }, (_, i) => everpost.send(`u${i}@pit.test`)))
    await until('two attempts hang, at RCPT', async () => {
      const last = await Promise.all(ids.map((id) => readAttempts(everpost.sql, id, 1)))
      const hanging = ids.map((_, i) => `u${i}@pit.test`).filter((_, i) => last[i]![0] && !last[i]![0].endedAt)
      return hanging.length === 2 && hanging.every((path) => asked().includes(path))
    })
    assert.equal((await everpost.command('reroute', '--domain', 'pit.test', '--to', `[127.0.0.1]:${backup.port}`, '--yes')).code, 0)
    const before = asked()
    for (const id of ids) assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.deepEqual(asked().filter((path) => !before.includes(path)), [])
    assert.equal(backup.messages.length, 6)
  } finally {
    await everpost.end()
    await Promise.all([old.close(), backup.close()])
  }
})
