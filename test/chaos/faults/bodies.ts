// store/bodies.ts with its points.

import * as real from '../../../store/bodies.ts'
import { reach } from './points.ts'

export * from '../../../store/bodies.ts'

export async function appendChunk(...args: Parameters<typeof real.appendChunk>): Promise<void> {
  await real.appendChunk(...args)
  reach('I2')
}

export async function* readBody(...args: Parameters<typeof real.readBody>): AsyncGenerator<Uint8Array> {
  reach('W2')
  for await (const chunk of real.readBody(...args)) {
    yield chunk
    reach('W3')
  }
}
