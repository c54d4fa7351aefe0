// Mends the Postgres driver where the loss of a connection in the midst of a transaction ends the process, or lets what is left of the
// transaction loose on a connection that has been made anew; and where it tries for ever, without a word or a pause, to make one. Run by `npm run build`. docs/decisions/007-a-patched-driver.md tells more.

import { readFileSync, writeFileSync } from 'node:fs'

const version = '3.4.9'

/** By file: what stands there, and what is to stand there. */
const changes = {
  'src/connection.js': [
    // Written to a socket that is gone, it threw where nobody can catch it.
    [`    const x = socket.write(chunk, fn)`, `    if (socket === null)
      return (chunk = nextWriteTimer = null, error(Errors.connection('CONNECTION_CLOSED', options)), true)
    const x = socket.write(chunk, fn)`],
    // What was not written yet must not go out on the next socket, nor an old error meet the next query; and the timer is no longer one.
    [`    clearImmediate(nextWriteTimer)
    socket.removeListener('data', data)
    socket.removeListener('connect', connected)
    idleTimer.cancel()`, `    clearImmediate(nextWriteTimer)
    chunk = nextWriteTimer = errorResponse = null
    socket.removeListener('data', data)
    socket.removeListener('connect', connected)
    idleTimer.cancel()`],
    // Who takes connections and closes them, and several hosts of which none answers, were called again at once and for ever. `hostIndex` is
    // that of the next host: after the last one the statement fails, and what closed without an error gets one.
    [`    if (connection.queue === queues.connecting && options.host[retries + 1])`, `    if (connection.queue === queues.connecting && hostIndex > 0)`],
    [`    if (initial)
      return reconnect()`, `    if (initial && hostIndex > 0)
      return reconnect()
    initial && (queryError(initial, Errors.connection('CONNECT_CLOSED', options)), initial = null)`],
    // Nor is who closes at once called again without a pause, as by those that listen for notices: half a second, not growing.
    [`    hadError && options.shared.retries++
`, `    hadError ? options.shared.retries++ : connection.queue === queues.connecting && (options.shared.retries = Math.max(options.shared.retries, 4))
`],
    // A round begins with the host that worked last, not in the midst of the list, where it would end before that one; and it is over with the
    // connection: a loss under its first statement left that hanging, as one on the way to the next host.
    [`    socket.connect(port[hostIndex], host[hostIndex])
    socket.host = host[hostIndex]
    socket.port = port[hostIndex]
`, `    const at = (firstHost + hostIndex) % port.length
    socket.connect(port[at], host[at])
    socket.host = host[at]
    socket.port = port[at]
`],
    [`      options.shared.retries = retries = 0
      initial = null`, `      options.shared.retries = retries = 0
      firstHost = (firstHost + hostIndex + port.length - 1) % port.length
      hostIndex = 0
      initial = null`],
    [`    , hostIndex = 0
`, `    , hostIndex = 0
    , firstHost = 0
`],
    // A connection lost while it is being made fails nothing, since it is made anew; but the rejection was nobody's, and ended the process.
    [`        return fetchArrayTypes()`, `        return fetchArrayTypes().catch(() => {})`],
  ],
  'src/index.js': [
    // A transaction whose connection is lost is over: its further statements fail, rather than run elsewhere.
    [`new Promise((_, reject) => connection.onclose = reject)`, `new Promise((_, reject) => connection.onclose = e => {
          lost = e
          while (queries.length)
            queries.shift().reject(e)
          reject(e)
        })`],
    [`      , prepare = null

    try {
      await sql.unsafe('begin '`, `      , prepare = null
      , lost = null

    try {
      await sql.unsafe('begin '`],
    [`        q.catch(e => uncaughtError || (uncaughtError = e))
        c.queue === full`, `        q.catch(e => uncaughtError || (uncaughtError = e))
        lost ? q.reject(lost) : c.queue === full`],
  ],
}

const at = (path) => new URL(`../node_modules/postgres/${path}`, import.meta.url)
const found = JSON.parse(readFileSync(at('package.json'), 'utf8')).version
if (found !== version) {
  console.error(`patches/postgres.mjs mends postgres ${version}, but ${found} is installed. See whether it still needs mending, and adapt or delete the patch.`)
  process.exit(1)
}
for (const [path, replacements] of Object.entries(changes)) {
  const text = readFileSync(at(path), 'utf8')
  let mended = text
  for (const [from, to] of replacements) {
    if (mended.includes(to)) continue
    if (!mended.includes(from)) throw new Error(`${path} of postgres ${version} is not as the patch expects it. Run: npm ci`)
    mended = mended.replace(from, () => to)
  }
  if (mended !== text) writeFileSync(at(path), mended)
}
