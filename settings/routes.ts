// The settings of routes: next hops that are set by hand, with the TLS and AUTH that each asks for, and where we speak to it from.

import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { canonicalDomain } from '../mail/address.ts'
import { nextHopKey, parseNextHop } from '../mail/route.ts'
import { distinct } from './forms.ts'

export const domain = z.string().regex(/^[^\s@/]+$/, 'a domain name, such as example.test')

const nextHop = z.string().superRefine((text, context) => {
  try {
    parseNextHop(text)
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message })
  }
})

const tlsLevel = z
  .enum(['none', 'may', 'encrypt', 'verify'], { error: 'none, may, encrypt, verify' })
  .describe('none: never; may: when offered, else in the clear; encrypt: always, any certificate; verify: always, with a certificate that is valid for the host.')

const routeTls = z.strictObject({
  level: tlsLevel,
  implicit: z.boolean().default(false).describe('TLS from the first octet, as on port 465, instead of STARTTLS.'),
  ca: z.string().optional().describe('Path of the CA certificates that are trusted instead of the usual ones, in PEM form. This file and the next two are read when a worker starts.'),
  cert: z.string().optional().describe('Path of our client certificate chain, in PEM form.'),
  key: z.string().optional().describe('Path of its private key.'),
  servername: domain.optional().describe('The name that is sent as SNI and that the certificate must be for; without it the name of the host.'),
  minVersion: z.enum(['TLSv1.2', 'TLSv1.3']).default('TLSv1.2').describe('The oldest version that is spoken.'),
}).refine(({ cert, key }) => (cert === undefined) === (key === undefined), { error: 'cert and key together' })
  .refine(({ level, implicit }) => !(implicit && (level === 'none' || level === 'may')), { error: 'implicit with level encrypt or verify' })

const routeAuth = z.strictObject({
  user: z.string().min(1).describe('User name at the relay host.'),
  passwordFile: z.string().optional().describe('Path of a file whose one line is the password; read anew for each connection.'),
  passwordEnv: z.string().optional().describe('Name of the environment variable that holds the password; read when a worker starts.'),
  tokenFile: z.string().optional().describe('Path of a file whose one line is an OAuth 2 access token, for XOAUTH2; read anew for each connection.'),
  mechanism: z.enum(['plain', 'login']).optional().describe('Without it PLAIN or LOGIN, as the host offers; with `tokenFile` always XOAUTH2.'),
  clearText: z.boolean().default(false).describe('Whether the secret may go over a line without TLS.'),
}).refine(({ passwordFile, passwordEnv, tokenFile }) => [passwordFile, passwordEnv, tokenFile].filter((each) => each !== undefined).length === 1, {
  error: 'exactly one of passwordFile, passwordEnv, tokenFile',
})

export const hostname = z.string().regex(/^[A-Za-z0-9.-]+$/, 'a host name, such as mx.example.test')

export const source = z.strictObject({
  ipv4: z.ipv4('an IPv4 address').optional().describe('Of this machine, for connections to IPv4 addresses. A worker whose machine does not have it does not start.'),
  ipv6: z.ipv6('an IPv6 address').optional().describe('The same for IPv6.'),
  hostname: hostname.optional().describe('Our name in EHLO there, to which these addresses should resolve; without it `hostname`.'),
})

export const addressFamilies = z.array(z.enum(['ipv4', 'ipv6'], { error: 'ipv4, ipv6' })).min(1, 'ipv4, ipv6, or both')
  .refine((families) => new Set(families).size === families.length, { error: 'each family once' })

/** What belongs to the next hop, since mail for several domains shares a connection to it. */
const ofNextHop = ({ tls, auth, source, addressFamilies }: Partial<Record<'tls' | 'auth' | 'source' | 'addressFamilies', unknown>>) => [tls, auth, source, addressFamilies]

const route = z.strictObject({
  domain: domain.describe('A domain, `*.domain` for its subdomains, or `*` for all.'),
  nextHop: nextHop.describe('`host`, `host:port`, `[host]:port` or `[address]:port`; brackets suppress the MX look-up. `lmtp:[host]:port` or `lmtp:unix:/path`: by LMTP, over TCP or a Unix socket.'),
  tls: z
    .union([tlsLevel.transform((level) => ({ level, implicit: false, minVersion: 'TLSv1.2' as const })), routeTls], { error: 'none, may, encrypt, verify, or a mapping with level' })
    .optional()
    .describe('A level, or a mapping with the keys below. Without it `may`; with `auth`, `verify`. Routes to one next hop must agree on it.'),
  auth: routeAuth.optional().describe('How we log in at a relay host (RFC 4954).'),
  source: source.optional().describe('What our connections are made from, in place of `transfer.source` as a whole. Routes to one next hop must agree on it.'),
  addressFamilies: addressFamilies.optional().describe('In place of `transfer.addressFamilies`. Routes to one next hop must agree on it.'),
}).refine((route) => !route.nextHop.trim().startsWith('lmtp:unix:') || ofNextHop(route).every((each) => each === undefined), {
  error: 'no tls, auth, source or addressFamilies with a Unix socket, which has none of them',
})

/** One that cannot be read has its own fault, told elsewhere. */
function keyOf(nextHop: string): string {
  try {
    return nextHopKey(parseNextHop(nextHop))
  } catch {
    return nextHop
  }
}

export const routes = z.array(route).superRefine((all, context) => {
  const first = new Map<string, number>()
  for (const [i, each] of all.entries()) {
    const key = keyOf(each.nextHop)
    const other = first.get(key)
    if (other === undefined) first.set(key, i)
    else if (!isDeepStrictEqual(ofNextHop(each), ofNextHop(all[other]!))) {
      context.addIssue({ code: 'custom', path: [i], message: `the same tls, auth, source and addressFamilies as in routes[${other}], which leads to the same next hop` })
    }
  }
}).superRefine(distinct('a domain', (all) => all.map(({ domain }, i) => [i, canonicalDomain(domain)])))
