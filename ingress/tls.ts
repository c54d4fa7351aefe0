// Certificates: read from their files, and read again when those change, while connections stay.

import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { SettingsError } from '../settings/load.ts'
import type { Settings } from '../settings/schema.ts'

/** As the listeners take them. `sniOptions`: by the name that a client asks for. */
export interface Certificates {
  cert: Buffer
  key: Buffer
  sniOptions: Record<string, { cert: Buffer; key: Buffer; minVersion: 'TLSv1.2' }>
}

/** Throws a SettingsError of one line that names the file, or the pair, that is no good. */
export function readCertificates({ tls }: Settings): Certificates | null {
  if (!tls) return null
  const pair = ({ cert, key }: { cert: string; key: string }) => {
    const found = { cert: read(cert), key: read(key) }
    try {
      createSecureContext(found)
    } catch (error) {
      throw new SettingsError(`${cert} and ${key} are no certificate and its key (${(error as Error).message}). Check tls in the settings.`)
    }
    return found
  }
  const names = Object.entries(tls.names ?? {}).map(([name, files]) => [name.toLowerCase(), { ...pair(files), minVersion: 'TLSv1.2' as const }])
  return { ...pair(tls), sniOptions: Object.fromEntries(names) }
}

function read(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new SettingsError(`${path} cannot be read (${(error as NodeJS.ErrnoException).code}). Check tls.cert and tls.key in the settings.`)
  }
}

export function sameCertificates(one: Certificates | null, other: Certificates | null): boolean {
  const text = (certificates: Certificates | null) => JSON.stringify(certificates)
  return text(one) === text(other)
}
