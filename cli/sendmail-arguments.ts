// The arguments of sendmail, as thirty years of programs give them: flags with their value attached or apart, unknown ones borne.

import { sysexits } from '../mail/sysexits.ts'
import { CommandError } from './errors.ts'

export interface SendmailOptions {
  recipients: string[]
  /** -t: recipients are in the message, too. */
  fromMessage: boolean
  /** -i, -oi: a line with a dot alone does not end the message. */
  ignoreDots: boolean
  /** -f, -r: the reverse-path. */
  from?: string
  /** -F: the name that goes with it. */
  fullName?: string
  /** -N: when to report (RFC 3461). */
  notify?: string[]
  /** -bs: the caller speaks SMTP. */
  smtpOnStandardIo: boolean
}

/** Flags with a value; all others but -b and -o have none. What is not used here changes nothing that we do. */
const withValue = 'fFrNVRBhLXpOCAD'

export function parseSendmailArguments(words: string[]): SendmailOptions {
  const options: SendmailOptions = { recipients: [], fromMessage: false, ignoreDots: false, smtpOnStandardIo: false }
  const rest = [...words]
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--') {
      options.recipients.push(...rest)
      break
    }
    if (!word.startsWith('-') || word === '-') {
      options.recipients.push(word)
      continue
    }
    const flag = word[1]!
    const attached = word.slice(2)
    const value = withValue.includes(flag) ? attached || rest.shift() : attached
    if (value === undefined) throw new CommandError(`sendmail: ${word} needs a value`, sysexits.usage)
    take(options, flag, value)
  }
  return options
}

function take(options: SendmailOptions, flag: string, value: string): void {
  if (flag === 'b' && value !== 'm' && value !== 's') throw new CommandError(`sendmail: -b${value} is not possible here. For the queue see: everpost queue`, sysexits.usage)
  if (flag === 'b') options.smtpOnStandardIo = value === 's'
  else if (flag === 'o') options.ignoreDots ||= value === 'i'
  else if (flag === 'f' || flag === 'r') options.from = value.replace(/^<(.*)>$/, '$1')
  else if (flag === 'F') options.fullName = value
  else if (flag === 'N') options.notify = value.toUpperCase().split(',')
  else {
    // -ti and the like: flags without value may stand together.
    options.fromMessage ||= flag === 't' || (flag === 'i' && value.includes('t'))
    options.ignoreDots ||= flag === 'i' || (flag === 't' && value.includes('i'))
  }
}
