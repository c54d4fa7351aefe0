// Search attributes of a message that waits: set when it is first deferred or held, in a workflow task that is there anyway.

import { upsertSearchAttributes } from '@temporalio/workflow'
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common'
import { domainOf } from '../mail/address.ts'
import type { MessageStatus } from './status.ts'

const statusKey = defineSearchAttributeKey('EverpostStatus', SearchAttributeType.KEYWORD)
const senderKey = defineSearchAttributeKey('EverpostSenderDomain', SearchAttributeType.KEYWORD)
const destinationKey = defineSearchAttributeKey('EverpostDestination', SearchAttributeType.KEYWORD_LIST)

/** Of all values: what a column of Temporal's visibility store holds. */
const longest = 255
const destinationsShown = 10

/** Remembers what was set, so that only a change costs an event. */
export function searchable(status: MessageStatus): { waiting(): void; ended(): void } {
  let last = ''

  function set(word: string): void {
    const deferring = status.attempts.filter((attempt) => [...attempt.outcomes, ...(attempt.others ?? [])].some(({ status }) => status === 'deferred'))
    const names = [...(status.waitsFor === null ? [] : [status.waitsFor]), ...deferring.map((attempt) => attempt.nextHop)]
    const destinations = [...new Set(names.map((name) => name.slice(0, longest)))].slice(0, destinationsShown)
    const now = [word, ...destinations].join(' ')
    if (now === last) return
    upsertSearchAttributes([
      { key: statusKey, value: word },
      { key: senderKey, value: domainOf(status.reversePath).slice(0, longest) || '<>' },
      ...(destinations.length > 0 ? [{ key: destinationKey, value: destinations }] : []),
    ])
    last = now
  }

  return {
    waiting: () => set(status.held ? 'held' : 'deferred'),
    ended() {
      if (last !== '') set(status.recipients.every((recipient) => recipient.state === 'delivered') ? 'delivered' : 'failed')
    },
  }
}
