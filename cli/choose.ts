// How commands choose messages: by queue id, or by what the options say of sender, recipient, user, client, domain, next hop, age, state and reply.

import { byNextHop } from '../console/next-hops.ts'
import { plainAddress } from '../ingress/networks.ts'
import { canonicalDomain } from '../mail/address.ts'
import { queueIdPattern } from '../mail/queue-id.ts'
import { sysexits } from '../mail/sysexits.ts'
import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import type { QueueFilter, QueueStatus } from '../store/filter.ts'
import { CommandError } from './errors.ts'

export interface ChooseOptions {
  sender?: string
  recipient?: string
  user?: string
  client?: string
  domain?: string
  nextHop?: string
  olderThan?: Date
  status?: QueueStatus
  reply?: string
}

export const choosingOptions = '--sender, --recipient, --domain, --user, --client, --next-hop, --older-than, --status or --reply'

/** Throws CommandError for ids that are none, and for a next hop that cannot be read. */
export async function filterOf(sql: Sql, settings: Settings, ids: string[], options: ChooseOptions): Promise<QueueFilter> {
  const wrong = ids.filter((id) => !queueIdPattern.test(id))
  if (wrong.length > 0) throw new CommandError(`${wrong.join(', ')}: no queue id. It has 18 digits and letters, as the 250 reply gave it.`, sysexits.usage)
  try {
    return {
      ids: ids.length > 0 ? ids : undefined,
      sender: options.sender,
      recipient: options.recipient,
      user: options.user,
      client: options.client === undefined ? undefined : plainAddress(options.client),
      domain: options.domain === undefined ? undefined : canonicalDomain(options.domain),
      nextHop: options.nextHop === undefined ? undefined : await byNextHop(sql, options.nextHop, settings),
      before: options.olderThan,
      status: options.status,
      reply: options.reply,
    }
  } catch (error) {
    if (error instanceof RangeError) throw new CommandError(error.message, sysexits.usage)
    throw error
  }
}
