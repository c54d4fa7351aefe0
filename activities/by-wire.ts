// How an attempt asks the outbound edge for a transfer, by SMTP or LMTP.

import type { AttemptResult } from '../mail/outcome.ts'
import { isOfSettings } from '../mail/verdict.ts'
import { leadsToUs } from '../smtp/own-address.ts'
import { transfer, type TransferRequest } from '../smtp/transfer.ts'
import type { Delivery } from './attempt.ts'
import type { ActivityDeps } from './index.ts'
import type { Group } from './types.ts'
import { ruleFor } from './verdict-on.ts'

type Arguments = [deps: ActivityDeps, protocol: 'smtp' | 'lmtp', group: Group, delivery: Delivery, content: TransferRequest['content']]

export async function transferByWire(...[deps, ...request]: Arguments): Promise<AttemptResult> {
  const result = await transfer(requestFor(deps, ...request), deps)
  complain(deps, result)
  return result
}

/** Milliseconds. */
const complainsEach = 60_000
let complainedAt = Number.NEGATIVE_INFINITY

/** An address of ours that is gone concerns all mail of this worker: said aloud once in a while, since each deferral tells it of one message alone. */
function complain({ log }: ActivityDeps, { outcomes }: AttemptResult): void {
  const gone = Object.values(outcomes).find((outcome) => outcome.phase === 'connect' && isOfSettings(outcome))
  if (!gone || performance.now() - complainedAt < complainsEach) return
  complainedAt = performance.now()
  log.error({ text: gone.text }, 'a source address cannot be used: what is to be sent from it waits')
}

function requestFor(...[deps, protocol, group, delivery, content]: Arguments): TransferRequest {
  const { message, recipients, signal, beforeDot } = delivery
  const { transfer: limits } = deps.settings
  const { tls, auth, source, addressFamilies } = deps.hopOptions(group.nextHop)
  return {
    protocol,
    hosts: group.hosts,
    port: group.port,
    ...(protocol === 'lmtp' && group.port === 0 ? { socket: group.hosts[0]! } : {}),
    // RFC 8689: REQUIRETLS takes nothing less than a certificate that is good for the host. DANE and MTA-STS will speak here, too.
    tls: async () => (message.requireTls && protocol === 'smtp' ? { ...tls, level: 'verify' } : tls),
    auth,
    source,
    addressFamilies,
    helo: source.hostname ?? deps.settings.hostname,
    envelope: {
      reversePath: message.reversePath, body: message.bodyType, smtpUtf8: message.smtpUtf8, requireTls: message.requireTls, ret: message.ret, envid: message.envid,
    },
    size: message.size + (message.trace?.length ?? 0),
    recipients,
    content,
    timeouts: {
      connect: limits.connectTimeout,
      greeting: limits.greetingTimeout,
      mail: limits.mailTimeout,
      rcpt: limits.rcptTimeout,
      data: limits.dataTimeout,
      block: limits.blockTimeout,
      dot: limits.dotTimeout,
    },
    beforeDot,
    ...(group.byDns ? { isOurs: (address) => leadsToUs(address, group.port, deps.settings.listeners) } : {}),
    anotherHost: (recipient, outcome) => ruleFor(deps, outcome, recipient.forwardPath, group.nextHop)?.then.action === 'nextHost',
    partly: delivery.partly,
    signal,
  }
}
