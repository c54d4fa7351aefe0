import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { acceptMessage } from '../store/accept.ts'
import { openDatabase } from '../store/database.ts'
import { testDatabase } from './support/database.ts'
import { newMessage } from './support/messages.ts'
import { needs } from './support/packages.ts'

const { sql, url, drop } = await testDatabase()
after(drop)

/** A line to Postgres, which says its port, and is dead after a line of input: without a word to either end, as when a machine is lost (TCP_REPAIR). */
const line = `
import os, socket, sys, threading
there = (sys.argv[1], int(sys.argv[2]))
server = socket.create_server(('127.0.0.1', 0))
print(server.getsockname()[1], flush=True)
ends = []
def pump(a, b):
    while data := a.recv(65536): b.sendall(data)
def serve():
    while True:
        near, _ = server.accept()
        far = socket.create_connection(there)
        ends.extend([near, far])
        for pair in ((near, far), (far, near)): threading.Thread(target=pump, args=pair, daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
sys.stdin.readline()
for end in ends: end.setsockopt(socket.IPPROTO_TCP, 19, 1)
os._exit(0)
`

const skip = needs('python3') || (process.getuid?.() !== 0 && 'needs root')

test('a process that vanishes with its machine, in the midst of a transaction, keeps its rows from the others for seconds', { skip }, async () => {
  const message = newMessage(['a@x.test'])
  await acceptMessage(sql, message)
  const real = new URL(url)
  const cable = spawn('python3', ['-c', line, real.hostname, real.port], { stdio: ['pipe', 'pipe', 'inherit'] })
  try {
    real.port = String(await new Promise<Buffer>((resolve) => cable.stdout.once('data', resolve))).trim()
    const lost = openDatabase(real.href, 1)
    await new Promise<void>((locked, failed) => {
      lost.begin(async (tx) => {
        await tx`select from messages where id = ${message.id} for no key update`
        locked()
        await new Promise(() => {})
      }).catch(failed)
    })
    await sleep(1000) // till all is acknowledged: what is sent again would find out
    const gone = new Promise((resolve) => cable.once('exit', resolve))
    cable.stdin.end('\n')
    await gone
    // Less than an idle transaction may last, and far less than the two hours of a system that was not asked for more.
    await sql.begin(async (tx) => {
      await tx`select set_config('lock_timeout', '25s', true)`
      assert.equal((await tx`select from messages where id = ${message.id} for no key update`).length, 1)
    })
  } finally {
    cable.kill('SIGKILL')
  }
})
