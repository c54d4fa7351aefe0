// store/bodies.ts with its points.

import * as real from '../../../store/bodies.ts'
import { reach } from './points.ts'

export * from '../../../store/bodies.ts'

export async function appendChunk(...args: Parameters<typeof real.appendChunk>): Promise<void> {
  await real.appendChunk(...args)
  reach('I2')
}

export async function* relayedContent(...args: Parameters<typeof real.relayedContent>): AsyncGenerator<Uint8Array> {
  reach('W2')
  let ofBody = args[1].trace === null
  for await (const chunk of real.relayedContent(...args)) {
    yield chunk
    if (ofBody) reach('W3')
    ofBody = true // what comes first is our own Received field
  }
}
