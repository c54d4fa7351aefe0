// What lies in the Maildirs of the run.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** By local part, for those to which something was delivered or was begun to be. */
export function readMaildirs(folder: string): Map<string, string[]> {
  // The power may have gone between the making of two folders.
  return new Map(!existsSync(folder) ? [] : readdirSync(folder).map((name) => {
    const arrived = join(folder, name, 'new')
    return [name, existsSync(arrived) ? readdirSync(arrived).map((file) => readFileSync(join(arrived, file), 'latin1')) : []]
  }))
}
