// handOff: final delivery of local recipients, through the agent that their domain's settings name.

import type { AttemptResult, HostTry, Outcome } from '../mail/outcome.ts'
import { domainOf, splitAddress, unquotedLocalPart, withoutTag } from '../mail/address.ts'
import { type Deliver, type Delivery, makeAttempt, makeFirstAttempt } from './attempt.ts'
import { deliveredContent } from './content.ts'
import { deliverMaildir } from './deliver-maildir.ts'
import { deliverPipe } from './deliver-pipe.ts'
import type { Opened } from '../store/messages.ts'
import type { ActivityDeps } from './index.ts'
import { expandArguments, expandPath } from './local-address.ts'
import { brokenOff, local } from '../mail/verdict.ts'
import { transferByWire } from './by-wire.ts'
import type { AttemptArgument, Attempted } from './types.ts'

export async function handOff(deps: ActivityDeps, argument: AttemptArgument): Promise<Attempted> {
  return await makeAttempt(deps, argument, toAgent(deps, argument))
}

/** In the first pass: null when it has to go on as an activity of its own. */
export async function firstHandOff(deps: ActivityDeps, argument: AttemptArgument, opened: Opened): Promise<Attempted | null> {
  return await makeFirstAttempt(deps, argument, toAgent(deps, argument), opened)
}

function toAgent(deps: ActivityDeps, { group }: AttemptArgument): Deliver {
  return (delivery) => {
    if (group.agent !== 'lmtp') return handToEach(deps, delivery)
    const content = () => deliveredContent(deps.sql, delivery.message, group.returnPath)
    return transferByWire(deps, 'lmtp', group, delivery, content)
  }
}

/** Maildir and pipe take one recipient at a time; each hand-off is marked before, as a dot is. */
async function handToEach(deps: ActivityDeps, delivery: Delivery): Promise<AttemptResult> {
  const result: AttemptResult = { outcomes: {}, tries: [], dotSent: false }
  for (const { n, forwardPath } of delivery.recipients) {
    const begun = Date.now()
    if (delivery.signal.aborted || !(await delivery.beforeDot([n]))) {
      result.outcomes[n] = brokenOff('broken off before the delivery')
      continue
    }
    const outcome = await handTo(deps, delivery, n, forwardPath)
    if (outcome.phase === 'local') result.dotSent = true
    result.outcomes[n] = outcome
    result.tries.push(tried(deps, begun, outcome))
  }
  return result
}

async function handTo(deps: ActivityDeps, { message, signal, again }: Delivery, n: number, forwardPath: string): Promise<Outcome> {
  const whole = unquotedLocalPart(splitAddress(forwardPath).localPart)
  const user = withoutTag(whole, deps.settings.subaddressDelimiter)
  const values = { localpart: user, domain: domainOf(forwardPath), sender: message.reversePath }
  const agent = deps.settings.localDomains[values.domain]
  const content = deliveredContent(deps.sql, message)
  if (agent?.deliver === 'maildir') {
    const path = expandPath(agent.path, values)
    return await deliverMaildir({ path, id: message.id, n, acceptedAt: message.acceptedAt, hostname: deps.settings.hostname, again: again(), content })
  }
  if (agent?.deliver === 'pipe') {
    const command = expandArguments(agent.command, values)
    if (!command) return local('bounced', '5.1.3', 'this address cannot be handed to a program')
    const environment = { SENDER: message.reversePath, RECIPIENT: forwardPath, LOCAL: user, EXTENSION: whole.slice(user.length + 1), DOMAIN: values.domain }
    return await deliverPipe({ command, timeout: agent.timeout, environment, content, signal, stopping: deps.stopping })
  }
  return local('deferred', '4.3.5', `${values.domain} is no longer a local domain with this delivery agent`, 'policy')
}

function tried(deps: ActivityDeps, begun: number, outcome: Outcome): HostTry {
  return {
    host: deps.settings.hostname, address: null, port: 0, at: new Date(begun).toISOString(), took: Date.now() - begun, tls: null,
    phase: 'local', dotSent: outcome.phase === 'local', problem: outcome.status === 'delivered' ? null : outcome.text,
  }
}
