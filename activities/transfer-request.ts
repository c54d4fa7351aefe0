// How an attempt asks the outbound edge for a transfer, by SMTP or LMTP.

import { leadsToUs } from '../smtp/own-address.ts'
import type { TransferRequest } from '../smtp/transfer.ts'
import type { Delivery } from './attempt.ts'
import type { ActivityDeps } from './index.ts'
import type { Group } from './types.ts'
import { ruleFor } from './verdict-on.ts'

export function transferRequest(
  deps: ActivityDeps, protocol: 'smtp' | 'lmtp', group: Group, delivery: Delivery, content: TransferRequest['content'],
): TransferRequest {
  const { message, recipients, signal, beforeDot } = delivery
  const { transfer } = deps.settings
  const { tls, auth } = deps.hopOptions(group.nextHop)
  return {
    protocol,
    hosts: group.hosts,
    port: group.port,
    // RFC 8689: REQUIRETLS takes nothing less than a certificate that is good for the host. DANE and MTA-STS will speak here, too.
    tls: async () => (message.requireTls && protocol === 'smtp' ? { ...tls, level: 'verify' } : tls),
    auth,
    helo: deps.settings.hostname,
    envelope: {
      reversePath: message.reversePath, body: message.bodyType, smtpUtf8: message.smtpUtf8, requireTls: message.requireTls, ret: message.ret, envid: message.envid,
    },
    size: message.size + (message.trace?.length ?? 0),
    recipients,
    content,
    timeouts: {
      connect: transfer.connectTimeout,
      greeting: transfer.greetingTimeout,
      mail: transfer.mailTimeout,
      rcpt: transfer.rcptTimeout,
      data: transfer.dataTimeout,
      block: transfer.blockTimeout,
      dot: transfer.dotTimeout,
    },
    beforeDot,
    ...(group.byDns ? { isOurs: (address) => leadsToUs(address, group.port, deps.settings.listeners) } : {}),
    anotherHost: (recipient, outcome) => ruleFor(deps, outcome, recipient.forwardPath, group.nextHop)?.then.action === 'nextHost',
    partly: delivery.partly,
    signal,
  }
}
