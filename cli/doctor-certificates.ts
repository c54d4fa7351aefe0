// The doctor's look at the certificates that this machine shows to others: which have expired, or soon will.

import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { moment, span } from '../console/format.ts'
import type { Settings } from '../settings/schema.ts'
import type { Examination } from './doctor.ts'

/** Milliseconds before its end when a certificate is a finding. */
const soon = 14 * 86_400_000

const readAgain = 'They are read again within a minute, or at SIGHUP'

/** Of listeners, and of ours as a client: what it is, its file, and what to do once the files are replaced. */
function shown({ tls, temporal, routes }: Settings): { of: string; file: string; then: string }[] {
  const names = Object.entries(tls?.names ?? {}).map(([name, { cert }]) => ({ of: `the listeners for ${name}`, file: cert, then: readAgain }))
  const ours = typeof temporal.tls === 'object' && temporal.tls.cert !== undefined ? [{ of: 'this client of Temporal', file: temporal.tls.cert, then: readAgain }] : []
  const hops = routes.flatMap(({ nextHop, tls }) => (!tls || !('cert' in tls) || tls.cert === undefined ? [] : [{ of: `this client of ${nextHop}`, file: tls.cert, then: 'Then restart the workers' }]))
  return [...(tls ? [{ of: 'the listeners', file: tls.cert, then: readAgain }] : []), ...names, ...ours, ...hops]
}

export function checkCertificates(settings: Settings, { findings, notes }: Examination): void {
  for (const { of, file, then } of shown(settings)) {
    const ends = endOf(file)
    if (typeof ends === 'string') {
      notes.push(`The certificate of ${of}, ${file}, cannot be read from here (${ends}).`)
      continue
    }
    const left = ends.getTime() - Date.now()
    if (left > soon) notes.push(`The certificate of ${of} is valid until ${moment(ends)}.`)
    else {
      const what = left > 0 ? `expires in ${span(left)}, at ${moment(ends)}` : `has expired ${span(-left)} ago`
      findings.push({ check: 'certificate', what: `the certificate of ${of}, ${file}, ${what}`, todo: `Renew it, and put the new certificate and its key in place of the files. ${then}.` })
    }
  }
}

/** When the first certificate of the chain ends; a text: why that is not known. */
function endOf(file: string): Date | string {
  try {
    const chain = readFileSync(file, 'latin1').match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []
    if (chain.length === 0) return 'it holds none in PEM form'
    return new Date(Math.min(...chain.map((pem) => Date.parse(new X509Certificate(pem).validTo))))
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? (error as Error).message
  }
}
