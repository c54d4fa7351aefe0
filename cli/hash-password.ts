// everpost hash-password: reads a password from standard input and prints its scrypt hash for the settings' `users`; stores nothing.

import { text } from 'node:stream/consumers'
import { hashPassword } from '../ingress/password.ts'
import { CommandError } from './errors.ts'

export async function printHash(): Promise<void> {
  if (process.stdin.isTTY) process.stderr.write('Password, then Enter and Ctrl-D: ')
  const password = (await text(process.stdin)).replace(/\r?\n$/, '')
  if (password === '') throw new CommandError('the password is empty. Type it, or pipe it in: printf %s secret | everpost hash-password', 64)
  console.log(await hashPassword(password))
}
