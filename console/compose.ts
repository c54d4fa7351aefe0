// From a submission in JSON to a message (RFC 5322).

import type { z } from '@hono/zod-openapi'
import MailComposer from 'nodemailer/lib/mail-composer/index.js'
import type { submissionSchema } from './schemas.ts'

export async function composeMessage(submission: z.infer<typeof submissionSchema>): Promise<Buffer> {
  const { from, to, cc, replyTo, subject, text, html, headers, attachments } = submission
  const composer = new MailComposer({
    from, to, cc, subject, text: text ?? (html === undefined ? '' : undefined), html, headers, newline: '\r\n', disableFileAccess: true, disableUrlAccess: true,
    ...(replyTo === undefined ? {} : { replyTo }),
    attachments: attachments?.map(({ filename, contentType, content }) => ({ filename, contentType, content, encoding: 'base64' })),
  })
  return await new Promise((resolve, reject) => composer.compile().build((error, message) => (error ? reject(error) : resolve(message))))
}

/** Lines of whatever ending become lines that end in CRLF, as SMTP wants them. */
export function withCrlf(message: Buffer): Buffer {
  return /(^|[^\r])\n|\r(?!\n)/.test(message.toString('latin1'))
    ? Buffer.from(message.toString('latin1').replace(/\r\n|\r|\n/g, '\r\n'), 'latin1') : message
}
