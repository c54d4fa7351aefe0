import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { startDnsServer } from '../smtp/testing-dns.ts'
import { prepareEverpost, program } from './support/everpost.ts'

test('mail goes out from the source address of its next hop, under its name; a worker that does not have it says so and does not start', async () => {
  const peer = await startPeer()
  const dns = await startDnsServer({ 'partner.test/A': ['127.0.0.1'], 'other.test/A': ['127.0.0.1'] })
  const everpost = await prepareEverpost({
    dns: { servers: [dns.server] },
    transfer: { source: { ipv4: '127.0.0.2', hostname: 'out.example.test' } },
    routes: [
      { domain: 'partner.test', nextHop: `partner.test:${peer.port}`, source: { ipv4: '127.0.0.3', hostname: 'bulk.example.test' } },
      { domain: 'other.test', nextHop: `other.test:${peer.port}` },
    ],
  })
  try {
    const worker = await everpost.start()
    for (const to of ['x@other.test', 'x@partner.test']) assert.deepEqual(await everpost.states(await everpost.send(to)), ['delivered'])
    assert.deepEqual(peer.clients, ['127.0.0.2', '127.0.0.3'])
    assert.deepEqual(peer.commands.filter((line) => line.startsWith('EHLO')), ['EHLO out.example.test', 'EHLO bulk.example.test'])
    const id = await everpost.send('y@partner.test')
    await everpost.states(id)
    assert.match((await everpost.command('show', id)).stdout, new RegExp(`tried partner\\.test\\[127\\.0\\.0\\.1\\]:${peer.port} from 127\\.0\\.0\\.3,`))

    await everpost.stop(worker)
    const config = join(everpost.folder, 'everpost.yaml')
    writeFileSync(config, readFileSync(config, 'utf8').replace('127.0.0.3', '192.0.2.1'))
    const { status, stderr } = spawnSync(process.execPath, [program, '--config', config, 'worker'], { encoding: 'utf8', timeout: 60_000 })
    assert.equal(status, 78)
    assert.match(stderr, /routes\[0\]\.source\.ipv4 192\.0\.2\.1: this machine has no such address/)
    const checked = await everpost.command('config')
    assert.deepEqual([checked.code, checked.stderr], [0, 'everpost: no worker will start here: routes[0].source.ipv4 192.0.2.1: this machine has no such address (EADDRNOTAVAIL)\n'])
    // Who takes mail in sends none.
    await everpost.start('ingress')
  } finally {
    await everpost.end()
    await Promise.all([peer.close(), dns.close()])
  }
})
