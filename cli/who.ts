// Who gives an operator's command: what is kept with each message as the one who did it.

import { userInfo } from 'node:os'

/** A name that was given, by --who or EVERPOST_WHO; else who called sudo; else the user of the system. */
export function operator(given = ''): string {
  return given.trim() || process.env['SUDO_USER'] || systemUser()
}

/** In a container the user may have no name. */
function systemUser(): string {
  try {
    return userInfo().username
  } catch {
    return `uid ${process.getuid?.()}`
  }
}
