import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { userInfo } from 'node:os'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { operator } from './who.ts'

const program = fileURLToPath(new URL('../../cli/everpost.mjs', import.meta.url))

test('who does it: the name given, who called sudo, or the user; every command that is kept takes a name', () => {
  const before = process.env['SUDO_USER']
  try {
    delete process.env['SUDO_USER']
    assert.equal(operator(), userInfo().username)
    process.env['SUDO_USER'] = 'carla'
    assert.deepEqual([operator(), operator(' '), operator('erik')], ['carla', 'carla', 'erik'])
  } finally {
    if (before === undefined) delete process.env['SUDO_USER']
    else process.env['SUDO_USER'] = before
  }
  for (const command of [['hold'], ['replay'], ['destination', 'suspend'], ['destination', 'resume']]) {
    assert.match(execFileSync(process.execPath, [program, ...command, '--help'], { encoding: 'utf8' }), /--who <name> .*EVERPOST_WHO/s, command.join(' '))
  }
})
