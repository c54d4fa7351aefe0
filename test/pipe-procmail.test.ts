import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { prepareEverpost } from './support/everpost.ts'
import { needs } from './support/packages.ts'
import { until } from './support/until.ts'

test('procmail as delivery agent: its rules sort the message, exit code 75 defers, others bounce', { skip: needs('procmail') }, async () => {
  const everpost = await prepareEverpost()
  try {
    const at = (name: string) => join(everpost.folder, name)
    mkdirSync(at('box'))
    chmodSync(at('box'), 0o777)
    writeFileSync(at('rc'), `MAILDIR=${at('box')}\nDEFAULT=${at('box')}/inbox\n:0\n* ^Subject:.*list\n${at('box')}/list\n`)
    // The sticky local part `wait` defers until its file is gone, `never` is refused for good (EX_NOUSER).
    writeFileSync(at('agent'), `#!/bin/sh\n[ "$1" = wait ] && [ -e ${at('busy')} ] && exit 75\n[ "$1" = never ] && exit 67\nexec procmail -m ${at('rc')}\n`)
    chmodSync(at('agent'), 0o755)
    writeFileSync(at('busy'), '')
    const config = at('everpost.yaml')
    writeFileSync(config, readFileSync(config, 'utf8').replace('localDomains:', `localDomains:\n  pipe.test: { deliver: pipe, command: [${at('agent')}, '{localpart}'] }`))
    await everpost.start()
    const id = await everpost.send(['dave@pipe.test', 'wait@pipe.test', 'never@pipe.test'], 'bob@example.test', 'Subject: a list\r\n\r\nHello.\r\n')
    await everpost.states(id, (states) => states[0] === 'delivered' && states[2] === 'bounced')
    const [deferred] = await until('the second was deferred', async () => {
      const rows = await everpost.sql<{ state: string; enhanced: string }[]>`
        select state, outcome->>'enhanced' as enhanced from recipients where message_id = ${id} and n = 1 and outcome is not null`
      return rows.length > 0 && rows
    })
    assert.deepEqual({ ...deferred }, { state: 'queued', enhanced: '4.3.0' })
    rmSync(at('busy'))
    assert.deepEqual(await everpost.states(id), ['delivered', 'delivered', 'bounced'])
    const list = readFileSync(at('box/list'), 'latin1')
    assert.equal(list.match(/^Subject: a list$/gm)?.length, 2)
    assert.match(list, /^Return-Path: <bob@example\.test>$/m)
  } finally {
    await everpost.end()
  }
})
