// Queue ids. The queue id of a message is also the id of its workflow.

const digits = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/**
 * A new queue id: 10 digits of time and 8 of chance in Crockford's base 32, so that ids sort by age and two
 * processes never meet (2^40 ids for each millisecond). `random` must hold at least 8 bytes.
 */
export function makeQueueId(now: number, random: Uint8Array): string {
  let id = ''
  for (let i = 9; i >= 0; i--) id += digits[Math.floor(now / 32 ** i) % 32]
  for (let i = 0; i < 8; i++) id += digits[random[i]! % 32]
  return id
}

export const queueIdPattern = /^[0-9A-HJKMNP-TV-Z]{18}$/
