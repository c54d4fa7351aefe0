// A certificate authority for tests: certificates as PEM texts, good for the names they are asked for.

import { generate } from 'selfsigned'

export interface Pair {
  cert: string
  key: string
}

export interface TestCa {
  cert: string
  /** A certificate for a DNS name; `ends`: when it does. */
  issue(name: string, ends?: Date): Promise<Pair>
}

export async function makeTestCa(): Promise<TestCa> {
  const ca = await generate([{ name: 'commonName', value: 'Test CA' }], {
    keyType: 'ec', algorithm: 'sha256', extensions: [{ name: 'basicConstraints', cA: true, critical: true }, { name: 'keyUsage', keyCertSign: true, critical: true }],
  })
  return {
    cert: ca.cert,
    async issue(name, ends) {
      const made = await generate([{ name: 'commonName', value: name }], {
        keyType: 'ec', algorithm: 'sha256', ca: { key: ca.private, cert: ca.cert }, extensions: [{ name: 'subjectAltName', altNames: [{ type: 2, value: name }] }],
        ...(ends ? { notBeforeDate: new Date(ends.getTime() - 90 * 86_400_000), notAfterDate: ends } : {}),
      })
      return { cert: made.cert, key: made.private }
    },
  }
}
