import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startPeer } from '../smtp/testing.ts'
import { openDatabase } from '../store/database.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'

test('the connections to Postgres are ended again and again: the process goes on, and what was answered 250 arrives, once but for what the records tell', async () => {
  const peer = await startPeer()
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  const admin = openDatabase(everpost.database, 1, 'nemesis')
  let ending = true
  try {
    const child = await everpost.start()
    const nemesis = (async () => {
      while (ending) {
        await admin`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'everpost%'`
        await sleep(150 + Math.random() * 300)
      }
    })()
    const answered = new Map<string, string>()
    await Promise.all([0, 1, 2].map(async (client) => {
      for (let i = 0; i < 15; i++) {
        const name = `m${client}-${i}`
        const id = await everpost.send(`${name}@partner.test`, 'sender@example.test', `Subject: ${name}\r\n\r\nx\r\n`).catch(() => null)
        if (id) answered.set(id, name)
        await sleep(50)
      }
    }))
    ending = false
    await nemesis
    assert.ok(answered.size >= 5, `${answered.size} were accepted`)
    for (const id of answered.keys()) assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.equal(child.exitCode, null)
    for (const [id, name] of answered) {
      const copies = peer.messages.filter((message) => message.includes(`Subject: ${name}\r\n`)).length
      const unknown = (await readAttempts(everpost.sql, id, 100)).filter(({ dotAt, lost }) => dotAt && lost).length
      assert.ok(copies >= 1 && copies <= 1 + unknown, `${name}: ${copies} copies, ${unknown} attempts with an unknown end`)
    }
  } finally {
    ending = false
    await admin.end({ timeout: 1 })
    await everpost.end()
    await peer.close()
  }
})
