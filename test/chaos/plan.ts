// What the client sends as its i-th message, and what should become of it: known to client, sink and verdict by the seed alone.

import { randomOf } from './random.ts'

/**
 * take: taken by the sink. defer: 450 at RCPT once, then taken. mx: as take, found by MX. box: a Maildir of ours. refuse: 550 at RCPT.
 * late: 554 after the dot. nowhere: the domain does not exist.
 */
export type Fate = 'take' | 'defer' | 'mx' | 'box' | 'refuse' | 'late' | 'nowhere'

const domains: Record<Fate, string> = {
  take: 'sink.chaos', defer: 'sink.chaos', mx: 'mx.chaos', box: 'local.chaos', refuse: 'sink.chaos', late: 'sink.chaos', nowhere: 'nowhere.chaos',
}

export interface Plan {
  /** '' for one in twenty: nobody can be told of its failures. */
  reversePath: string
  /** Forward-paths `<fate>-<i>-<n>@domain`, in envelope order. */
  recipients: string[]
  body: Buffer
}

export const markOf = (address: string) => /^\w+-(\d+)(?:-\d+)?@/.exec(address)?.[1] ?? null
export const fateOf = (address: string) => address.slice(0, address.indexOf('-')) as Fate

export function planOf(seed: number, i: number): Plan {
  const random = randomOf(seed, `message ${i}`)
  const first: Fate = random.pick(['take', 'take', 'take', 'take', 'take', 'mx', 'mx', 'box', 'box', 'defer', 'defer', 'refuse', 'late', 'nowhere'])
  const fates: Fate[] = [first]
  // The reply to the dot is one for all recipients, so `late` stays alone.
  const more = first === 'late' || random.next() < 0.7 ? 0 : random.between(1, 4)
  for (let n = 0; n < more; n++) fates.push(random.pick(['take', 'take', 'mx', 'box', 'defer', 'refuse', 'nowhere']))
  // Beyond one chunk of a body, so that uploads are cut off half-way.
  const lines = random.next() < 0.005 ? 8000 : random.between(1, 30)
  const text = Array.from({ length: lines }, (_, l) => `${l % 7 === 0 ? '.' : ''}${l} ${'everpost '.repeat(random.between(0, 7))}\r\n`).join('')
  return {
    reversePath: random.next() < 0.05 ? '' : `from-${i}@sink.chaos`,
    recipients: fates.map((fate, n) => `${fate}-${i}-${n}@${domains[fate]}`),
    body: Buffer.from(`X-Mark: ${i}\r\nSubject: chaos ${i}\r\n\r\n${text}`),
  }
}
