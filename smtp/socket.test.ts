// LMTP over a Unix socket, and what is said where there is none.

import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createDns } from './dns.ts'
import { loadHopOptions } from './hop-options.ts'
import { createPool } from './pool.ts'
import { recipientsOf, startPeer, testRequest } from './testing.ts'
import { startDnsServer } from './testing-dns.ts'
import { transfer, type TransferRequest } from './transfer.ts'

const folder = mkdtempSync(join(tmpdir(), 'everpost-socket-'))
chmodSync(folder, 0o755)
const path = join(folder, 'lmtp')
const pool = createPool({ idle: 10_000, age: 60_000, messages: 100, connections: 10 })
after(() => {
  pool.close()
  rmSync(folder, { recursive: true })
})

async function attempt(change: Partial<TransferRequest>, dns = createDns({ servers: [], timeout: 200 })) {
  const request = testRequest(0, { hosts: [], protocol: 'lmtp', recipients: recipientsOf('a@x.test'), ...change })
  const { outcomes, tries } = await transfer(request, { dns, pool })
  return { ...outcomes[0]!, tries }
}

test('mail goes over the socket, whatever the source and the families; the connection is kept, and named by its path', async () => {
  const peer = await startPeer({}, path)
  try {
    for (const reused of [undefined, true] as const) {
      const { status, text, tries } = await attempt({ socket: path, source: { ipv4: '127.0.0.2', ipv6: '::1' }, addressFamilies: ['ipv4'] })
      assert.deepEqual([status, text], ['delivered', `host localhost[${path}] said: 250 2.0.0 taken (in reply to end of DATA)`])
      assert.deepEqual(tries.map(({ host, address, port, from, reused }) => ({ host, address, port, from, reused })), [{ host: 'localhost', address: path, port: 0, from: undefined, reused }])
    }
    assert.deepEqual([peer.connections, peer.commands[0]], [1, 'LHLO mx.example.test'])
  } finally {
    await peer.close()
  }
})

test('a socket that is not there, that nobody listens on, or that we may not write to defers with that reason', async () => {
  const told = async (socket: string) => {
    const { status, enhanced, text } = await attempt({ socket })
    return `${status} ${enhanced} ${text.replace(folder, '')}`
  }
  assert.equal(await told(join(folder, 'gone')), 'deferred 4.4.1 cannot connect to localhost[/gone]: there is no such socket (ENOENT)')
  writeFileSync(join(folder, 'dead'), '')
  assert.equal(await told(join(folder, 'dead')), 'deferred 4.4.1 cannot connect to localhost[/dead]: no server listens on this socket (ECONNREFUSED)')
  const peer = await startPeer({}, join(folder, 'private'))
  chmodSync(join(folder, 'private'), 0)
  // Root may write anywhere.
  const isRoot = process.geteuid!() === 0
  if (isRoot) process.seteuid!(65534)
  try {
    assert.equal(await told(join(folder, 'private')), 'deferred 4.4.1 cannot connect to localhost[/private]: the user that Everpost runs as may not write to this socket (EACCES)')
  } finally {
    if (isRoot) process.seteuid!(0)
    await peer.close()
  }
})

test('an MX that is named like a socket leads to none', async () => {
  const peer = await startPeer({}, path)
  const server = await startDnsServer({ [`${path}/TXT`]: [] })
  try {
    const { status, enhanced } = await attempt({ hosts: [path], protocol: 'smtp' }, createDns({ servers: [server.server], timeout: 200 }))
    assert.deepEqual([status, enhanced, peer.connections], ['deferred', '4.4.4', 0])
  } finally {
    await peer.close()
    await server.close()
  }
})

test('no TLS is asked of a socket', () => {
  const options = loadHopOptions([{ domain: 'a.test', nextHop: 'lmtp:unix:/run/routed' }], { source: { ipv4: '127.0.0.2' } })
  const found = ['lmtp:unix:/run/lmtp', 'lmtp:unix:/run/routed', 'lmtp:[127.0.0.1]:24'].map(options)
  assert.deepEqual(found.map(({ tls, source }) => [tls.level, source]), [['none', {}], ['none', {}], ['may', {}]])
})
