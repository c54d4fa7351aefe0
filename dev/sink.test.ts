import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createTransport } from 'nodemailer'
import { startSink } from './sink.ts'

test('the sink takes, refuses and breaks off as the local part says', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-sink-'))
  const sink = await startSink(folder)
  const send = async (localPart: string) => {
    const transport = createTransport({ host: '127.0.0.1', port: sink.port, ignoreTLS: true })
    try {
      return (await transport.sendMail({ envelope: { from: 'a@example.test', to: `${localPart}@x.sink.test` }, raw: 'Subject: s\r\n\r\n.dot\r\n' })).response
    } catch (error) {
      return (error as { response?: string }).response ?? 'broken off'
    } finally {
      transport.close()
    }
  }
  try {
    assert.match(await send('ok'), /^250 /)
    assert.match(await send('greylist'), /^450 4\.7\.1 /)
    assert.match(await send('greylist'), /^250 /)
    assert.match(await send('451'), /^451 4\.0\.0 /)
    assert.match(await send('550'), /^550 5\.0\.0 /)
    assert.match(await send('421'), /^421 4\.3\.2 /)
    assert.match(await send('full'), /^452 4\.2\.2 /)
    assert.match(await send('data-554'), /^554 5\.0\.0 /)
    assert.equal(await send('drop'), 'broken off')
    assert.equal(await send('drop-after-dot'), 'broken off')
    assert.match(await send('drop-after-dot'), /^250 /)
    const files = readdirSync(folder).sort()
    assert.equal(files.length, 4)
    writeFileSync(join(folder, 'fault'), '550\n')
    assert.match(await send('ok'), /^550 5\.0\.0 /)
    writeFileSync(join(folder, 'fault'), 'greylist\n')
    assert.match(await send('ok'), /^451 4\.3\.5 .*no reply code/)
    rmSync(join(folder, 'fault'))
    assert.match(await send('ok'), /^250 /)
    assert.equal(readFileSync(join(folder, files[0]!), 'latin1'), 'X-Sink-Envelope: <a@example.test> to <ok@x.sink.test>\r\nSubject: s\r\n\r\n.dot\r\n')
  } finally {
    await sink.stop()
    rmSync(folder, { recursive: true, force: true })
  }
})
