// The settings of retries: the schedule, queue lifetimes, and the operator's rules (mail/retry.ts).

import { z } from 'zod'
import { duration, pause, section, several } from './forms.ts'

const pattern = several(z.string().min(1), 'a name, *.name for all below it, or a list of these')
const oneCode = z.union([z.string(), z.int()]).transform(String).pipe(z.string().regex(/^[45][0-9x]{2}$/, 'a reply code such as 421, 45x or 4xx'))
const code = several(oneCode, 'a reply code such as 421, 45x or 4xx, or a list of these')
const oneEnhanced = z.string().regex(/^[45]\.(\d{1,3}|x)\.(\d{1,3}|x)$/, 'an enhanced status code such as 4.2.2 or 4.7.x')
const enhancedPattern = several(oneEnhanced, 'an enhanced status code such as 4.2.2 or 4.7.x, or a list of these')
const phases = ['dns', 'connect', 'greeting', 'ehlo', 'tls', 'auth', 'mail', 'rcpt', 'data', 'dot', 'local'] as const
const phase = several(z.enum(phases), `one of ${phases.join(', ')}, or a list of these`)
const text = z.string().superRefine((source, context) => {
  try {
    new RegExp(source)
  } catch (error) {
    context.addIssue({ code: 'custom', message: `a regular expression: ${(error as Error).message}` })
  }
}).transform((source) => new RegExp(source, 'i')).optional()

const match = z.strictObject({
  domain: pattern.describe('Of the recipient: a domain, `*.domain` for all below it, `*`.'),
  nextHop: pattern.describe('As listings name it, or the host that answered: a name, or `*.name`.'),
  phase: phase.describe('How far the attempt had come.'),
  code: code.describe('Reply codes, `x` for any digit: `421`, `4xx`.'),
  enhanced: enhancedPattern.describe('Enhanced status codes, `x` for any number: `4.2.2`, `4.7.x`.'),
  text: text.describe("A regular expression, in any case of letters, for the reply's text; where no host replied, for ours."),
}).describe('Which outcomes it is for: all that is named must fit, and of a list one.')

const then = z.strictObject({
  action: z.enum(['retry', 'defer', 'bounce', 'nextHost', 'suspendDestination']).default('retry')
    .describe('retry: as the reply says, deferred on `schedule`; defer: even after a 5xx; bounce; nextHost: ask the next MX even after a 5xx; '
      + 'suspendDestination: leave it alone, `for` a time.'),
  schedule: z.array(pause).min(1).optional().describe('Pauses, of which the last repeats; without it and `for` those from `minimalBackoffTime` to `maximalBackoffTime`.'),
  for: pause.optional().describe('One pause, where there is no `schedule`; how long `suspendDestination` lasts.'),
  enhanced: z.string().regex(/^[45]\.\d{1,3}\.\d{1,3}$/, 'an enhanced status code such as 5.7.1').optional().describe('The enhanced status code to report instead.'),
  giveUpAfter: pause.optional()
    .describe('Since the rule, which then needs a name, first decided for a recipient: after it the recipient is returned as at the end of the queue lifetime, '
      + 'which it only shortens.'),
}).refine(({ action, giveUpAfter }) => giveUpAfter === undefined || action !== 'bounce', {
  error: 'bounce gives up at once: leave giveUpAfter out, or say retry',
}).describe('What is done with them.')

const rule = z.strictObject({ name: z.string().min(1).optional().describe('Shown with the attempts that it decided; default: its place in the list.'), match, then })
  .refine(({ name, then }) => name !== undefined || then.giveUpAfter === undefined, {
    error: 'a rule with giveUpAfter has a name, by which its time is counted though rules before it come and go',
  })

const named = (rules: { name?: string | undefined }[]) => rules.flatMap(({ name }) => name ?? [])

const lifetime = z.strictObject({
  from: pattern.describe('Reverse-path: an address, a domain, `*.domain`, or a list.'),
  users: several(z.string().min(1), 'a user name, or a list').describe('Authenticated users; of mail submitted by HTTP, `token:` and the name of the token.'),
  lifetime: duration('5d').describe('How long such a message is tried.'),
})

export const retry = section({
  minimalBackoffTime: duration('5m').describe('Pause after the first deferred attempt; it doubles with each further one.'),
  maximalBackoffTime: duration('4h').describe('The longest pause.'),
  maximalQueueLifetime: duration('5d').describe('How long a message is tried before it is returned.'),
  bounceQueueLifetime: duration('5d').describe('The same for messages with the null reverse-path.'),
  lifetimes: z.array(lifetime).prefault([]).describe('Queue lifetimes by sender; the first that fits wins over `maximalQueueLifetime`.'),
  rules: z.array(rule).refine((rules) => new Set(named(rules)).size === named(rules).length, 'rules of different names: a name tells what each has decided so far').prefault([])
    .transform((rules) => rules.map((rule, i) => ({ ...rule, name: rule.name ?? `retry.rules[${i}]` })))
    .describe('What is done with which outcome; the first rule that fits decides. After them come the built-in rules.'),
  builtInRules: z.boolean().default(true).describe('Rules for greylisting, full mailboxes, blocks, and large providers (mail/retry-rules.ts).'),
}).describe('When deferred mail is tried again.')
