// Messages for tests that need some in the database.

import { randomBytes } from 'node:crypto'
import { makeQueueId } from '../../mail/queue-id.ts'
import type { NewMessage } from '../../store/accept.ts'

export function newMessage(recipients: string[], change: Partial<NewMessage> = {}): NewMessage {
  const body = Buffer.from('Subject: test\r\n\r\nHello.\r\n')
  return {
    id: makeQueueId(Date.now(), randomBytes(8)),
    kind: 'mail',
    parent: null,
    envelope: {
      reversePath: 'sender@example.test',
      recipients: recipients.map((forwardPath, n) => ({ n, forwardPath, notify: [], orcpt: null })),
      body: '7BIT', smtpUtf8: false, requireTls: false, ret: null, envid: null,
    },
    origin: { protocol: 'ESMTP', helo: 'client.test', clientAddress: '127.0.0.1', clientName: null, tls: null, user: null },
    size: body.length,
    lifetime: 3_600_000,
    body,
    ...change,
  }
}
