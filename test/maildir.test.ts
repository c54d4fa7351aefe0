import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { prepareEverpost } from './support/everpost.ts'

test('a Maildir: Return-Path first and alone, the body as it came, nothing left in tmp; odd names stay in their folder', async () => {
  const everpost = await prepareEverpost()
  try {
    await everpost.start()
    const raw = 'Return-Path:\r\n <forged@a.test>\r\nSubject: x\r\n\r\nReturn-Path: in the body stays\r\n..two dots\r\n'
    const id = await everpost.send(['Carol@EXAMPLE.test', '/etc/passwd@example.test'], 'bob@a.test', raw)
    assert.deepEqual(await everpost.states(id), ['delivered', 'delivered'])
    const [mail] = everpost.maildir('carol')
    assert.match(mail!, /^Return-Path: <bob@a\.test>\nReceived: from /)
    assert.equal(mail!.slice(mail!.indexOf('Subject:')), 'Subject: x\n\nReturn-Path: in the body stays\n..two dots\n')
    assert.doesNotMatch(mail!, /forged/)
    const boxes = readdirSync(join(everpost.folder, 'mail')).sort()
    assert.deepEqual(boxes, ['%2Fetc%2Fpasswd', 'carol'])
    assert.deepEqual(boxes.map((box) => readdirSync(join(everpost.folder, 'mail', box, 'tmp')).length), [0, 0])
  } finally {
    await everpost.end()
  }
})
