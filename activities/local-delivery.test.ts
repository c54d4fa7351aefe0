import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { until } from '../test/support/until.ts'
import { deliverMaildir } from './deliver-maildir.ts'
import { deliverPipe } from './deliver-pipe.ts'
import { expandArguments, expandPath } from './local-address.ts'

const folder = mkdtempSync(join(tmpdir(), 'everpost-local-'))
after(() => rmSync(folder, { recursive: true, force: true }))
async function* content() {
  yield Buffer.from('Return-Path: <s@a.test>\r')
  yield Buffer.from('\nA: 1\r\n\r\nbody\r\n')
}
const lf = 'Return-Path: <s@a.test>\nA: 1\n\nbody\n'
const maildir = (path: string) => deliverMaildir({ path, id: 'ID', n: 0, acceptedAt: new Date(5000), hostname: 'mx.test', again: true, content: content() })

test('a Maildir gets the message once, however often it is delivered, and after it was read', async () => {
  const path = join(folder, 'a')
  for (let i = 0; i < 2; i++) assert.equal((await maildir(path)).status, 'delivered')
  assert.deepEqual(readdirSync(join(path, 'new')), ['5.IDR0.mx.test'])
  assert.equal(readFileSync(join(path, 'new/5.IDR0.mx.test'), 'utf8'), lf)
  renameSync(join(path, 'new/5.IDR0.mx.test'), join(path, 'cur/5.IDR0.mx.test:2,S'))
  assert.equal((await maildir(path)).status, 'delivered')
  assert.deepEqual([readdirSync(join(path, 'new')), readdirSync(join(path, 'tmp'))], [[], []])
})

test('a path that is no folder defers', async () => {
  writeFileSync(join(folder, 'file'), '')
  assert.deepEqual([(await maildir(join(folder, 'file'))).status, (await maildir(join(folder, 'file'))).enhanced], ['deferred', '4.3.0'])
})

const never = new AbortController().signal
const pipe = (script: string, change = {}) => deliverPipe({
  command: ['/bin/sh', '-c', script], timeout: 5000, environment: { RECIPIENT: 'r@b.test' }, content: content(), signal: never, stopping: never, ...change,
})

test('a program gets the message and decides by its exit code', async () => {
  const file = join(folder, 'piped')
  assert.equal((await pipe(`cat > ${file}; test "$RECIPIENT" = r@b.test`)).status, 'delivered')
  assert.equal(readFileSync(file, 'utf8'), lf)
  for (const [code, expected] of [[75, 'deferred 4.3.0'], [67, 'bounced 5.1.1'], [77, 'bounced 5.7.0'], [71, 'deferred 4.3.0'], [1, 'deferred 4.3.0']] as const) {
    const outcome = await pipe(`exit ${code}`)
    assert.equal(`${outcome.status} ${outcome.enhanced}`, expected, `exit code ${code}`)
  }
  assert.match((await pipe('echo no room >&2; exit 75')).text, /no room/)
})

test('a program that hangs is killed with what it started; one that is missing defers', async () => {
  const outcome = await pipe('sleep 60 & sleep 60', { timeout: 100 })
  assert.match(`${outcome.status} ${outcome.text}`, /deferred.*still running/)
  assert.equal((await pipe('', { command: ['/nonexistent/program'] })).status, 'deferred')
})

test('a worker that stops waits for a program that has the whole message, but not for ever', async () => {
  const stop = async (file: string, script: string) => {
    const stopping = new AbortController()
    const outcome = pipe(`cat > ${file}.part; mv ${file}.part ${file}; ${script}`, { signal: stopping.signal, stopping: stopping.signal })
    await until('it has the message', () => existsSync(file))
    stopping.abort()
    return await outcome
  }
  assert.equal((await stop(join(folder, 'filed'), 'sleep 0.5')).status, 'delivered')
  assert.match((await stop(join(folder, 'filed-too'), 'exec sleep 60')).text, /stopped before it ended; whether it has delivered is unknown/)
})

test('one that does not have the whole message is broken off at once, and that counts for nothing', async () => {
  const stopping = new AbortController()
  const much = async function* () {
    yield Buffer.alloc(1_000_000, 'x')
  }
  const outcome = pipe(`touch ${join(folder, 'begun')}; exec sleep 60`, { content: much(), signal: stopping.signal, stopping: stopping.signal })
  await until('it runs', () => existsSync(join(folder, 'begun')))
  stopping.abort()
  const { status, phase, text } = await outcome
  assert.deepEqual([status, phase], ['deferred', 'policy'], text)
})

test('a program that has ended by itself has had its say, whatever it left running', async () => {
  assert.equal((await pipe('cat >/dev/null; sleep 60 & exit 0', { timeout: 500 })).status, 'delivered')
  // In a session of its own, where the time-out does not reach it.
  const began = Date.now()
  assert.match((await pipe('cat >/dev/null; setsid sleep 30 & echo no room; exit 75')).text, /exit code 75: no room/)
  assert.ok(Date.now() - began < 4000)
})

test('a time-out ends the delivery, whoever holds what the program was given', async () => {
  const much = async function* () {
    for (let i = 0; i < 64; i++) yield Buffer.alloc(1_000_000, 'x')
  }
  const began = Date.now()
  assert.match((await pipe('setsid sleep 30 <&0 & exec sleep 30', { timeout: 500, content: much() })).text, /still running after 0.5 s/)
  assert.equal((await pipe('setsid sleep 30 <&0 & exit 0', { content: much() })).status, 'delivered')
  assert.ok(Date.now() - began < 8000)
})

test('a fault of the content is thrown, not taken for a delivery', async () => {
  const broken = async function* () {
    yield Buffer.from('A: 1\r\n')
    throw new Error('database away')
  }
  await assert.rejects(pipe('cat >/dev/null', { content: broken() }), /database away/)
  await assert.rejects(deliverMaildir({ path: join(folder, 'b'), id: 'ID', n: 0, acceptedAt: new Date(), hostname: 'h', again: false, content: broken() }), /database away/)
  assert.deepEqual([readdirSync(join(folder, 'b/new')), readdirSync(join(folder, 'b/tmp'))], [[], []])
})

test('long addresses have folders of their own, and one that is too long for any comes back', async () => {
  const folders = ['a'.repeat(200) + '1', 'a'.repeat(200) + '2', 'a'.repeat(254), 'あ'.repeat(23) + 'x', 'あ'.repeat(23) + 'y', 'あ'.repeat(85)]
    .map((localpart) => expandPath('/{localpart}', { localpart, domain: 'x', sender: '' }))
  assert.equal(new Set(folders).size, folders.length)
  for (const path of folders) assert.match(path, /^\/(?:[^/%]|%[0-9A-F]{2}){1,200}$/)
  const outcome = await deliverMaildir({ path: join(folder, 'c'.repeat(300)), id: 'ID', n: 0, acceptedAt: new Date(), hostname: 'h', again: false, content: content() })
  assert.deepEqual([outcome.status, outcome.enhanced], ['bounced', '5.1.3'])
})

test('an address never leaves its folder and never becomes an option', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (localpart) => {
    const path = expandPath('/var/mail/{localpart}', { localpart, domain: 'x', sender: '' })
    assert.equal(resolve(path), path)
    assert.match(path, /^\/var\/mail\/[^/.][^/]*$/)
  }))
  const values = (localpart: string) => ({ localpart, domain: 'x', sender: '' })
  assert.equal(expandArguments(['p', '-d', '{localpart}'], values('-rf')), null)
  assert.equal(expandArguments(['p', 'x{localpart}'], values('a\0')), null)
  assert.deepEqual(expandArguments(['p', '-d', 'to={localpart}'], values('-rf')), ['p', '-d', 'to=-rf'])
})
