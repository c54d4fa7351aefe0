import assert from 'node:assert/strict'
import { readdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import type { Point } from './chaos/faults/points.ts'
import { type Everpost, prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

const faults = new URL('./chaos/faults/install.js', import.meta.url).href
const armed = (point: string) => ({ NODE_OPTIONS: `--import ${faults}`, EVERPOST_CHAOS_POINT: point })
/** More than one chunk of a body. */
const large = `Subject: large\r\n\r\n${`${'x'.repeat(70)}\r\n`.repeat(6000)}`

type Peer = Awaited<ReturnType<typeof startPeer>>
interface Scene {
  everpost: Everpost
  peer: Peer
  /** Of the message sent while the process was armed; null when no 250 came. */
  id: string | null
}

/** Milliseconds: an activity whose worker is gone is given up after its heartbeats, and its recipients when the lease ends. */
const patience = 150_000

/** What must have come out when all is quiet. */
type Expected = (scene: Scene) => Promise<void>

async function settled({ everpost }: Scene): Promise<void> {
  await until('the queue is empty', async () => {
    const rows = await everpost.sql`select from messages where state = 'queued'`
    return rows.length === 0
  })
}

const nothing: Expected = async ({ everpost, peer, id }) => {
  assert.equal(id, null)
  const rows = await everpost.sql`select from messages`
  assert.deepEqual([rows.length, peer.messages.length], [0, 0])
}

const once: Expected = async (scene) => {
  await until('it is delivered', () => scene.peer.messages.length > 0, patience)
  await settled(scene)
  assert.equal(scene.peer.messages.length, 1)
}

/** Once, or twice with a record of an attempt whose dot was sent and whose reply is not known. */
const attributed: Expected = async (scene) => {
  const { everpost, peer } = scene
  await until('it is delivered', () => peer.messages.length > 0)
  await settled(scene)
  const [row] = await everpost.sql<{ id: string }[]>`select id from messages`
  const attempts = await readAttempts(everpost.sql, row!.id, 10)
  const open = attempts.filter(({ dotAt, lost }) => dotAt !== null && lost)
  assert.ok(peer.messages.length - 1 <= open.length, `${peer.messages.length} copies, ${open.length} such attempts`)
}

/** An attempt that had claimed was lost before its dot. */
const retaken: Expected = async (scene) => {
  await once(scene)
  const [row] = await scene.everpost.sql<{ id: string }[]>`select id from messages`
  const attempts = await readAttempts(scene.everpost.sql, row!.id, 10)
  assert.ok(attempts.some(({ lost, dotAt }) => lost && dotAt === null), JSON.stringify(attempts))
}

/** The peer refused it, so the sender, whose mail comes to the same peer, hears of it once. */
const reported: Expected = async (scene) => {
  await until('it is reported', () => scene.peer.messages.length > 0)
  await settled(scene)
  assert.equal(scene.peer.messages.filter((text) => text.includes('report-type=delivery-status')).length, 1)
  assert.equal(scene.peer.messages.length, 1)
}

const table: [point: Point, passage: number, to: string, expected: Expected][] = [
  ['I1', 1, 'a', nothing], ['I2', 1, 'a', nothing], ['I3', 1, 'a', nothing], ['I4', 1, 'a', once], ['I5', 1, 'a', once], ['I6', 1, 'a', once],
  ['W1', 1, 'a', once], ['W2', 1, 'a', once], ['W3', 1, 'a', once], ['W3m', 1, 'a', once], ['W4', 1, 'a', attributed], ['W5', 1, 'a', attributed], ['W6', 1, 'a', once],
  ['W3', 1, 'later', retaken], ['W3m', 1, 'later', retaken],
  ['W7', 1, 'refused', reported], ['W8', 2, 'refused', reported],
]

const words: Record<string, string> = {
  nothing: 'nothing, and the client knows', once: 'the message, once',
  retaken: 'the message, once, though a later attempt had claimed it', attributed: 'the message, and every copy has its record', reported: 'one report',
}

async function stage(use: (scene: Scene) => Promise<void>): Promise<void> {
  let asked = 0
  const rcpt = { 'refused@partner.test': '550 5.1.1 no such user', get 'later@partner.test'() { return asked++ === 0 ? '451 4.3.0 later' : '250 2.1.5 ok' } }
  const peer = await startPeer({ rcpt })
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  try {
    await use({ everpost, peer, id: null })
  } finally {
    await everpost.end()
    await peer.close()
  }
}

const isStopped = (pid: number) => readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)!.startsWith('T')

describe('kill -9 at each step of ingress and worker', { concurrency: 4 }, () => {
  for (const [point, passage, to, expected] of table) {
    test(`${point}: what comes out is ${words[expected.name]}`, () => stage(async (scene) => {
      const { everpost } = scene
      const victim = await everpost.start('serve', armed(`${point}:SIGKILL:${passage}`))
      scene.id = await everpost.send(`${to}@partner.test`, 'sender@partner.test', large).catch(() => null)
      await until(`it dies at ${point}`, () => victim.signalCode === 'SIGKILL')
      await everpost.start()
      await expected(scene)
    }))
  }

  test('W5, into a Maildir: what its reader has moved to cur meanwhile is not delivered again', () => stage(async ({ everpost }) => {
    const victim = await everpost.start('serve', armed('W5:SIGKILL:1'))
    const id = await everpost.send('carol@example.test')
    await until('it dies at W5', () => victim.signalCode === 'SIGKILL')
    const folder = join(everpost.folder, 'mail/carol')
    const [file] = readdirSync(join(folder, 'new'))
    renameSync(join(folder, 'new', file!), join(folder, 'cur', `${file}:2,S`))
    await everpost.start()
    assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.deepEqual([everpost.maildir('carol'), readdirSync(join(folder, 'cur')).length], [[], 1])
  }))

  test('after the 250: the message is delivered once', () => stage(async (scene) => {
    const ingress = await scene.everpost.start('ingress')
    scene.id = await scene.everpost.send('a@partner.test')
    await scene.everpost.stop(ingress, 'SIGKILL')
    await scene.everpost.start('worker')
    await once(scene)
  }))

  for (const [to, which, expected] of [['a', 'a first attempt, which claims with its dot', once], ['later', 'a later one, which has claimed before', retaken]] as const) {
    test(`W9, ${which}, is stopped before its dot while another worker takes over: when it goes on it sends no second one`, () => stage(async (scene) => {
      const { everpost } = scene
      const zombie = await everpost.start('worker', armed('W3m:SIGSTOP:1'))
      await everpost.start('ingress')
      await everpost.send(`${to}@partner.test`)
      await until('it stands before its dot', () => isStopped(zombie.pid!))
      await everpost.start('worker')
      await expected(scene)
      zombie.kill('SIGCONT')
      // Time enough for it to do what it may not.
      await sleep(3000)
      assert.equal(scene.peer.messages.length, 1)
    }))
  }
})
