// What the HTTP API works with in this process: the same acceptance, starts and settings as the other edges.

import { readFileSync } from 'node:fs'
import type { Logger } from 'pino'
import type { ConsoleDeps } from '../console/server.ts'
import { SubmissionRefused } from '../console/submit.ts'
import { openIntake } from '../ingress/accept.ts'
import type { Aliases } from '../ingress/aliases.ts'
import { createCallout } from '../ingress/callout.ts'
import type { Counters } from '../ingress/counters.ts'
import type { Outbox } from '../ingress/outbox.ts'
import { addRecipients, createRecipients, mostRecipients } from '../ingress/recipients.ts'
import type { Recipient } from '../mail/envelope.ts'
import { queueLifetime } from '../mail/retry.ts'
import type { Settings } from '../settings/schema.ts'
import { acceptMessage } from '../store/accept.ts'
import type { Sql } from '../store/database.ts'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }

interface Deps {
  sql: Sql
  settings: Settings
  log: Logger
  aliases: Aliases
  outbox: Outbox
  counters: Counters
  startMessage: (id: string) => Promise<unknown>
}

export function consoleApi({ settings, log, aliases, outbox, counters, startMessage }: Deps): ConsoleDeps['api'] {
  const { retry, limits, retention } = settings
  const names = createRecipients(settings, aliases, createCallout(settings.hostname))
  return {
    log,
    version,
    async findRecipients(addresses) {
      const recipients: Recipient[] = []
      for (const address of addresses) {
        const found = await names.find(address, true)
        counters.count('refused' in found ? 'recipients.refused' : 'recipients.accepted')
        if ('refused' in found) throw new SubmissionRefused(found.refused.code, `${address}: ${found.refused.lines.join(' ')}`)
        if (recipients.length + found.addresses.length > mostRecipients) throw new SubmissionRefused(550, 'Too many recipients for one message, with those that aliases stand for')
        addRecipients(recipients, address, found.addresses, { notify: [], orcpt: null })
      }
      return recipients
    },
    async submit(sql, { content, envelope, origin, sendAt, lifetime }) {
      if (outbox.full()) throw new SubmissionRefused(451, 'Too many messages wait; try again later')
      const intake = openIntake({ settings, sql, log, store: (message) => acceptMessage(sql, message) }, { binary: false, submission: true, lifetime })
      await intake.write(content)
      const taken = await intake.commit(envelope, origin, sendAt)
      if ('refused' in taken) {
        counters.count('messages.refused')
        throw new SubmissionRefused(taken.refused.code, taken.refused.lines.join(' '))
      }
      const { id } = taken
      log.info({ id, from: envelope.reversePath, nrcpt: envelope.recipients.length, client: origin.clientAddress, user: origin.user }, 'accepted')
      return id
    },
    begin(id, { content }) {
      outbox.accepted()
      counters.count('messages.accepted')
      counters.count('octets.accepted', content.length)
      startMessage(id).catch((error) => log.debug({ id, error: String(error) }, 'left to the outbox'))
    },
    wake(id) {
      startMessage(id).catch((error) => log.debug({ id, error: String(error) }, 'left to the outbox'))
    },
    routing: settings,
    maximalRecipients: limits.recipients,
    // Base64 and JSON make a message larger than it will be.
    maximalSize: limits.messageSize * 2,
    retention,
    resumeOver: settings.destinations.resumeOver,
    lifetimeOf: (reversePath, user) => queueLifetime(reversePath, user, retry),
  }
}
