// For `node --import`: puts the files of this folder in the place of those of Everpost that bear the same name, so that the program
// under test needs no switch of its own for being killed at named points, or for being broken on purpose.

import { register } from 'node:module'
import { isMainThread } from 'node:worker_threads'

if (isMainThread) register('./hooks.js', import.meta.url)
