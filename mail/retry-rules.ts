// The built-in retry rules: data. Large providers first, then causes that every host has. Pauses are multiples of the minimal
// backoff time (5 min by default), so that they scale with it. An operator's rules come before these.

import { builtInProviders } from './destination.ts'
import type { RetryRule } from './retry.ts'

const hostsOf = (...providers: string[]) => providers.flatMap((name) => builtInProviders.find((provider) => provider.name === name)!.hosts)

/** Slow at once: asking sooner makes the block last longer. */
const slowly = [6, 12, 24, 48]

export const builtInRules: RetryRule[] = [
  // Google: 4.7.28 rate of this address or network, 4.2.1 a recipient who gets mail too fast, 4.3.0 try later.
  { name: 'google rate limit', match: { nextHop: hostsOf('google'), enhanced: ['4.7.28', '4.7.23', '4.7.0'] }, then: { action: 'retry', factors: slowly } },
  { name: 'google busy mailbox', match: { nextHop: hostsOf('google'), enhanced: ['4.2.1'] }, then: { action: 'retry', factors: [3, 6, 12, 24, 48] } },
  // Microsoft: 4.7.650 and the like, "part of their network is on our block list (S775)": temporary by code; 4.7.500 server busy.
  {
    name: 'microsoft block', match: { nextHop: hostsOf('microsoft'), code: ['4xx'], text: /\bS(775|77714|3140|3150)\b|block list|temporarily rate limited/i },
    then: { action: 'retry', factors: slowly },
  },
  { name: 'microsoft busy', match: { nextHop: hostsOf('microsoft'), enhanced: ['4.7.500', '4.3.2', '4.4.4'] }, then: { action: 'retry', factors: [1, 2, 4, 8, 16, 32, 48] } },
  // Yahoo and AOL: TSS04 and TSS05 user complaints or volume (their own advice is four hours), TSS07 and TS03 a permanent deferral.
  { name: 'yahoo permanent deferral', match: { nextHop: hostsOf('yahoo'), text: /\[(TSS?0[379])\]|permanently deferred/i }, then: { action: 'bounce', enhanced: '5.7.1' } },
  { name: 'yahoo deferral', match: { nextHop: hostsOf('yahoo'), code: ['4xx'], text: /\[(TSS?\d+|PH01|GL01)\]|temporarily deferred/i }, then: { action: 'retry', factors: slowly } },
  { name: 'apple rate limit', match: { nextHop: [...hostsOf('apple'), '*.apple.com'], code: ['4xx'], text: /rate|local policy|CS0\d|HM0\d/i }, then: { action: 'retry', factors: slowly } },
  {
    name: 'gmx and web.de limit', match: { nextHop: hostsOf('gmx', 'ionos'), code: ['4xx'], text: /too many|exceeded|reject due to policy/i },
    then: { action: 'retry', factors: slowly },
  },
  { name: 'comcast rate limit', match: { nextHop: hostsOf('comcast'), code: ['4xx'], text: /RL0000|PH0\d|too many/i }, then: { action: 'retry', factors: slowly } },

  // Greylisting: soon, since most let mail in after one to five minutes; then like any other.
  {
    name: 'greylisted', match: { phase: ['mail', 'rcpt', 'data', 'dot'], code: ['4xx'], text: /gr[ae]y-?\s?list|postgrey|sqlgrey|come back (in|after) \d+|retry in \d+ (s|m)/i },
    then: { action: 'retry', factors: [0.2, 1, 1, 2, 4, 8, 16, 32, 48] },
  },
  {
    name: 'mailbox full', match: { phase: ['rcpt', 'data', 'dot', 'local'], enhanced: ['4.2.2'] },
    then: { action: 'retry', factors: [6, 12, 24, 48] },
  },
  {
    name: 'blocked by policy', match: { code: ['4xx'], text: /block(ed|\s?list)|blacklist|dnsbl|\brbl\b|reputation|spamhaus|unusual rate|too much (mail|spam)/i },
    then: { action: 'retry', factors: slowly },
  },
  {
    name: 'too many connections', match: { code: ['421', '450', '451', '452'], text: /too many (concurrent |simultaneous )?(connections|sessions|messages)|connection (rate|limit)|rate limit/i },
    then: { action: 'retry', factors: [1, 1, 2, 4, 8, 16, 32, 48] },
  },
  // What somebody has to mend takes them longer than a broken line does.
  { name: 'TLS or login failed', match: { phase: ['tls', 'auth'] }, then: { action: 'retry', factors: [3, 6, 12, 24, 48] } },
]
