// A bare smtp-server that throws every message away: what accepting costs without a promise.

import { SMTPServer } from 'smtp-server'
import { reply } from './protocol.ts'

const server = new SMTPServer({
  authOptional: true, disabledCommands: ['AUTH', 'STARTTLS'], logger: false, disableReverseLookup: true,
  onData(stream, _session, callback) {
    stream.resume().on('end', () => callback())
  },
})
const socket = server.listen(0, '127.0.0.1', () => reply({ port: (socket.address() as { port: number }).port }))
