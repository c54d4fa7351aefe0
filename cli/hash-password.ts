// everpost hash-password: reads a password and prints its scrypt hash for the settings' `users`; stores nothing.

import { hashPassword } from '../ingress/password.ts'
import { readPassword } from './password.ts'

export async function printHash(): Promise<void> {
  console.log(await hashPassword(await readPassword()))
}
