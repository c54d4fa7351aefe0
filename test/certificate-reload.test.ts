import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect } from 'node:tls'
import { ensureCertificate } from '../dev/certificate.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('SIGHUP: a new certificate is used from then on, the process and its connections stay', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-reload-'))
  const live = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
  const install = async (name: string) => {
    const made = await ensureCertificate(join(folder, name), name)
    copyFileSync(made.cert, live.cert)
    copyFileSync(made.key, live.key)
  }
  await install('one.test')
  const everpost = await prepareEverpost({ listeners: [{ kind: 'submissions', address: '127.0.0.1', port: 0 }], tls: live })
  const subject = () => new Promise<string>((resolve, reject) => {
    const socket = connect({ port: everpost.ports['submissions']!, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().subject.CN as string)
      socket.destroy()
    }).on('error', reject)
  })
  try {
    const child = await everpost.start()
    assert.equal(await subject(), 'one.test')
    const kept = connect({ port: everpost.ports['submissions']!, host: '127.0.0.1', rejectUnauthorized: false })
    let said = ''
    kept.on('data', (chunk: Buffer) => { said += chunk.toString() })
    await until('it is greeted', () => said.includes('220 '))
    await install('two.test')
    child.kill('SIGHUP')
    await until('the new certificate is used', async () => (await subject()) === 'two.test')
    kept.write('EHLO c.test\r\n')
    await until('the connection goes on', () => said.includes('250-'))
    kept.destroy()
    assert.equal(child.exitCode, null)
  } finally {
    await everpost.end()
    rmSync(folder, { recursive: true, force: true })
  }
})
