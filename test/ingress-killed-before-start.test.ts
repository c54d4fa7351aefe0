import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { prepareEverpost } from './support/everpost.ts'

test('ingress dies after COMMIT and before the start of the workflow: a worker starts it', async () => {
  const everpost = await prepareEverpost()
  try {
    // Nothing listens at this address: the start cannot succeed before the kill.
    const ingress = await everpost.start('ingress', { TEMPORAL_ADDRESS: '127.0.0.1:1' })
    const ids = await Promise.all([1, 2, 3].map(() => everpost.send('carol@example.test')))
    await everpost.stop(ingress, 'SIGKILL')
    const [row] = await everpost.sql<{ waiting: number }[]>`select count(*) as waiting from messages where started_at is null`
    assert.equal(row!.waiting, 3)
    await everpost.start('worker')
    for (const id of ids) assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.equal(everpost.maildir('carol').length, 3)
  } finally {
    await everpost.end()
  }
})

test('ingress dies at the very moment of each 250, and before the dot: what was answered arrives once, nothing else does', async () => {
  const everpost = await prepareEverpost()
  try {
    const answered: string[] = []
    for (let round = 0; round < 4; round++) {
      const ingress = await everpost.start('ingress')
      const half = converse(everpost.ports['smtp']!, 'never@example.test', 'Subject: half\r\n\r\nno dot')
      const whole = converse(everpost.ports['smtp']!, 'carol@example.test', `Subject: ${round}\r\n\r\nx\r\n.\r\n`)
      await half.inData
      answered.push(/queued as (\w+)/.exec(await whole.reply)![1]!)
      await everpost.stop(ingress, 'SIGKILL')
      half.close()
    }
    await everpost.start('worker')
    for (const id of answered) assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.deepEqual(everpost.maildir('carol').map((mail) => /^Subject: (\d)$/m.exec(mail)?.[1]).sort(), ['0', '1', '2', '3'])
    assert.equal((await everpost.sql`select from messages`).length, 4)
  } finally {
    await everpost.end()
  }
})

/** Sends a message by hand; `reply` is the reply to the dot, which a mail library would follow with more talk. */
function converse(port: number, to: string, body: string): { inData: Promise<void>; reply: Promise<string>; close: () => void } {
  const lines = ['EHLO c.test', 'MAIL FROM:<s@a.test>', `RCPT TO:<${to}>`, 'DATA']
  const socket = connect(port, '127.0.0.1').setEncoding('latin1')
  let began = () => {}
  const inData = new Promise<void>((resolve) => { began = resolve })
  const reply = new Promise<string>((resolve) => {
    socket.on('error', () => {}).on('data', (text: string) => {
      if (!/^\d{3} .*\r\n$/m.test(text)) return
      const line = lines.shift()
      if (line !== undefined) socket.write(`${line}\r\n`)
      else if (text.startsWith('354')) socket.write(body, () => began())
      else resolve(text)
    })
  })
  return { inData, reply, close: () => socket.destroy() }
}
