// The outside client, a process of its own: sends the planned messages and keeps a ledger of what it was told, synced before it goes on.

import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Plan, planOf } from './plan.ts'
import { randomOf } from './random.ts'

export interface ClientOrders {
  seed: number
  /** Where Everpost listens. */
  ports: number[]
  /** Conversations side by side. */
  clients: number
  /** Messages a second, in all. */
  rate: number
  ledger: string
}

/**
 * accepted: 250 after the dot. refused: another reply after the dot. unknown: the dot was written, or the reply itself says that nobody
 * knows. absent: it ended before the dot.
 */
export interface LedgerEntry {
  i: number
  result: 'accepted' | 'refused' | 'unknown' | 'absent'
  reply: string
}

/** No server hangs longer than this on a reply, or the client gives up: RFC 5321 would wait ten minutes. */
const patience = 60_000

class Lost extends Error {}

process.once('message', (orders: ClientOrders) => {
  void run(orders)
})

async function run({ seed, ports, clients, rate, ledger }: ClientOrders): Promise<void> {
  const file = openSync(ledger, 'a')
  let stopping = false
  let next = 0
  process.on('message', () => { stopping = true })
  const note = (entry: LedgerEntry) => {
    writeSync(file, `${JSON.stringify(entry)}\n`)
    fsyncSync(file)
    process.send!({ sent: next })
  }
  await Promise.all(Array.from({ length: clients }, async (_, c) => {
    const random = randomOf(seed, `client ${c}`)
    while (!stopping) {
      const session = await open(random.pick(ports)).catch(() => null)
      if (!session) {
        await sleep(100)
        continue
      }
      for (let n = random.between(1, 30); n > 0 && !stopping; n--) {
        const begun = Date.now()
        const i = next++
        const entry = { i, ...(await send(session, planOf(seed, i))) }
        note(entry)
        if (entry.result !== 'accepted') break
        await sleep(Math.max(0, (1000 * clients) / rate - (Date.now() - begun)))
      }
      session.socket.end()
    }
  }))
  closeSync(file)
  process.exit(0)
}

interface Session {
  socket: Socket
  /** The next reply, whole; throws Lost. */
  reply(): Promise<string>
}

async function open(port: number): Promise<Session> {
  const socket = connect(port, '127.0.0.1').setNoDelay().setEncoding('latin1')
  let text = ''
  let lost = false
  let stir = () => {}
  const lose = () => {
    lost = true
    stir()
  }
  socket.on('error', lose).on('close', lose).on('end', lose).on('data', (chunk: string) => {
    text += chunk
    stir()
  })
  const reply = async () => {
    const end = Date.now() + patience
    for (;;) {
      const whole = /^(?:\d{3}-.*\r\n)*\d{3} .*\r\n/.exec(text)?.[0]
      if (whole) {
        text = text.slice(whole.length)
        return whole.trim()
      }
      if (lost || Date.now() > end) throw new Lost()
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, end - Date.now())
        stir = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }
  if (!(await reply()).startsWith('220')) throw new Lost()
  socket.write('EHLO client.chaos\r\n')
  if (!(await reply()).startsWith('250')) throw new Lost()
  return { socket, reply }
}

async function send({ socket, reply }: Session, plan: Plan): Promise<Omit<LedgerEntry, 'i'>> {
  let dotWritten = false
  try {
    const commands: [string, string][] = [
      [`MAIL FROM:<${plan.reversePath}>`, '250'], ...plan.recipients.map((to) => [`RCPT TO:<${to}>`, '250'] as [string, string]), ['DATA', '354'],
    ]
    for (const [line, code] of commands) {
      socket.write(`${line}\r\n`)
      const said = await reply()
      if (!said.startsWith(code)) return { result: 'absent', reply: said }
    }
    socket.write(plan.body.toString('latin1').replace(/^\./gm, '..'))
    if (socket.destroyed) throw new Lost()
    dotWritten = true
    socket.write('.\r\n')
    const said = await reply()
    const result = said.startsWith('250') ? 'accepted' : said.includes('not known whether') ? 'unknown' : 'refused'
    return { result, reply: said }
  } catch (error) {
    if (!(error instanceof Lost)) throw error
    return { result: dotWritten ? 'unknown' : 'absent', reply: '' }
  }
}
