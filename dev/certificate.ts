// A self-signed certificate for dev mode: made once, kept, renewed before it ends.

import { X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generate } from 'selfsigned'

const week = 7 * 86_400_000

/** Paths of certificate and key below `folder`, valid for the host name, localhost and the loopback address. */
export async function ensureCertificate(folder: string, hostname: string): Promise<{ cert: string; key: string }> {
  const paths = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
  if (existsSync(paths.key) && isGood(paths.cert, hostname)) return paths
  mkdirSync(folder, { recursive: true })
  const made = await generate([{ name: 'commonName', value: hostname }], {
    keyType: 'ec',
    notAfterDate: new Date(Date.now() + 365 * 86_400_000),
    extensions: [{ name: 'subjectAltName', altNames: [{ type: 2, value: hostname }, { type: 2, value: 'localhost' }, { type: 7, ip: '127.0.0.1' }] }],
  })
  writeFileSync(paths.key, made.private, { mode: 0o600 })
  writeFileSync(paths.cert, made.cert)
  return paths
}

function isGood(path: string, hostname: string): boolean {
  try {
    const certificate = new X509Certificate(readFileSync(path))
    return Date.parse(certificate.validTo) > Date.now() + week && certificate.checkHost(hostname) !== undefined
  } catch {
    return false
  }
}
