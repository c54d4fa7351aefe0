import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, test } from 'node:test'
import { claim, notedPid, notePid } from './pid-file.ts'

const folder = mkdtempSync(join(tmpdir(), 'everpost-pid-file-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const file = join(folder, 'pid')

test('a process that has ended, a pid that has gone to another, half a file and none note nobody', async () => {
  assert.equal(notedPid(file), null)
  const child = spawn('sleep', ['60'])
  notePid(file, child.pid!)
  assert.equal(notedPid(file), child.pid)
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.kill()
  await exited
  assert.equal(notedPid(file), null)
  for (const other of ['{"pid":1,"started":"0"}', '{"pid":1', '']) {
    writeFileSync(file, other)
    assert.equal(notedPid(file), null, other)
  }
})

test('of processes that claim it at once, over a stale one, one gets it; the others are told its pid', async () => {
  const program = `const { claim } = await import(${JSON.stringify(new URL('./pid-file.js', import.meta.url).href)})
    const until = Number(process.argv[2])
    while (Date.now() < until);
    console.log(claim(process.argv[1]) ?? 'mine')
    process.stdin.resume()`
  writeFileSync(file, '{"pid":1,"started":"0"}')
  const children = Array.from({ length: 6 }, () => spawn(process.execPath, ['--input-type=module', '-e', program, file, String(Date.now() + 1500)]))
  const said = children.map((child) => new Promise<string>((resolve) => child.stdout.setEncoding('utf8').once('data', (word: string) => resolve(word.trim()))))
  const words = await Promise.all(said)
  const holder = children[words.indexOf('mine')]!
  assert.deepEqual(words.filter((word) => word !== 'mine'), Array(5).fill(String(holder.pid)))
  assert.equal(claim(file), holder.pid)
  assert.deepEqual([readdirSync(folder), JSON.parse(readFileSync(file, 'utf8')).pid], [['pid'], holder.pid])
  for (const child of children) child.stdin.end()
  await Promise.all(children.map((child) => text(child.stdout)))
  assert.equal(claim(file), null)
})
