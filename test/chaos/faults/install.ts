// For `node --import`: puts the files of this folder in the place of those of Everpost that bear the same name, so that the program
// under test needs no switch of its own for being killed at named points, or for being broken on purpose.

import { open } from 'node:fs/promises'
import { register } from 'node:module'
import { isMainThread } from 'node:worker_threads'

if (isMainThread) register('./hooks.js', import.meta.url)

if (process.env['EVERPOST_CHAOS_SABOTAGE'] === 'no-sync') {
  const handle = await open('/dev/null')
  Object.getPrototypeOf(handle).sync = async () => {}
  await handle.close()
}
