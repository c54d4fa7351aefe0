// A chaos run: load and nemesis side by side, then peace until the queue is empty, then the verdict.

import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { openDatabase } from '../../store/database.ts'
import { type Cluster, roles, startCluster } from './cluster.ts'
import { drained } from './drain.ts'
import { readMaildirs } from './maildirs.ts'
import { lacking } from './means.ts'
import type { LedgerEntry } from './client.ts'
import { createNemesis, type Sabotage, type Target } from './nemesis.ts'
import { randomOf } from './random.ts'
import type { Taking } from './sink.ts'
import { type AttemptRecord, judge, type RecipientRecord, type Verdict } from './verdict.ts'

export interface ChaosOptions {
  /** Processes to end by kill -9, at least. */
  kills: number
  /** Messages to send, at least. */
  messages: number
  seed: number
  /** Temporal's database is lost now and then; the drain then takes minutes, since only the outbox finds such messages. */
  wipes: boolean
  /** Negative control. */
  sabotage?: Sabotage
  /** Milliseconds after which the load ends, targets met or not. */
  limit?: number
  /** Faults may last as long as an operator's would: a minute, not seconds. */
  patient: boolean
  /** Temporal is its real server on the cluster's Postgres, as operators run it. */
  onPostgres?: boolean
  /** A checkout of another version, built: half of the processes are of it, so that each deploy is an upgrade or a step back. */
  other?: string
  /** Milliseconds that the queue may take to get on once there is peace. */
  patience: number
  say: (line: string) => void
}

export interface ChaosResult {
  verdict: Verdict
  seconds: { load: number; drain: number }
  /** Whether the queue is empty at the end. */
  drained: boolean
  /** What could not be done on this machine. */
  lacking: string[]
  /** Ends by kill -9, by whom. */
  kills: Record<string, number>
  acts: Record<string, number>
  /** Points at which a process was struck. */
  points: Record<string, number>
}

/** Milliseconds at most between two acts of a kind, both kinds side by side. */
const pace = { ours: 2000, theirs: 2500 }
const longestPause = 10_000
/** Milliseconds from one kill to the next, as it comes out. */
const perKill = 1500

export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { seed, say, sabotage } = options
  const kills: Record<string, number> = {}
  const acts: Record<string, number> = {}
  const struck: Record<string, number> = {}
  const count = (in_: Record<string, number>, name: string) => { in_[name] = (in_[name] ?? 0) + 1 }
  const cluster = await startCluster({
    seed, sabotage: sabotage ?? '', patient: options.patient, onPostgres: options.onPostgres ?? false, other: options.other ?? null,
    died: (role, signal) => { if (signal === 'SIGKILL') count(kills, role) },
    reached: (what) => count(struck, what),
  })
  const nemesis = createNemesis(cluster, { seed, wipes: options.wipes, sabotage, each: options.messages / options.kills })
  let armed = true
  let sent = 0
  const total = () => Object.values(kills).reduce((a, b) => a + b, 0)
  // Kills keep step with messages: on a machine of any speed as much is under way when they strike.
  const ahead = () => total() / options.kills > sent / options.messages
  const supervisor = setInterval(() => { for (const role of roles) cluster.startEverpost(role, armed ? nemesis.arm(role) : '') }, 400)
  try {
    await sleep(3000)
    const begun = Date.now()
    // As many a second as are needed while the kills last.
    const rate = Math.max(5, options.messages / ((options.kills * perKill) / 1000))
    const client = cluster.startClient({ seed, clients: 12, rate }, (count) => { sent = count })
    const enough = () => (total() >= options.kills && sent >= options.messages) || Date.now() - begun >= (options.limit ?? Number.POSITIVE_INFINITY)
    const lane = async (on: Target) => {
      for (const dice = randomOf(seed, `pace of ${on}`); !enough();) {
        await sleep(dice.between(pace[on] / 5, pace[on]))
        for (let waited = 0; ahead() && waited < longestPause && !enough(); waited += 100) await sleep(100)
        const done = await nemesis.act(on)
        if (done) count(acts, done.name)
        if (done?.killed) count(kills, done.killed)
      }
    }
    const progress = setInterval(() => say(`${total()} kills, ${sent} messages, ${Math.round((Date.now() - begun) / 1000)} s`), 30_000)
    await Promise.all([lane('ours'), lane('theirs')]).finally(() => clearInterval(progress))
    armed = false
    await client.stop()
    const loaded = Date.now()
    say(`${total()} kills, ${sent} messages; peace`)
    await nemesis.relent()
    // A process that still carries a point would die in peace.
    for (const role of roles) cluster.everposts[role]?.kill('SIGTERM')
    const empty = await drained(cluster, { patience: options.patience, say })
    const seconds = { load: (loaded - begun) / 1000, drain: (Date.now() - loaded) / 1000 }
    return { verdict: await gather(cluster, seed), seconds, drained: empty, lacking: lacking(cluster.means), kills, acts, points: struck }
  } finally {
    clearInterval(supervisor)
    await cluster.end()
  }
}

async function gather(cluster: Cluster, seed: number): Promise<Verdict> {
  const sql = openDatabase(cluster.postgres.url, 1, 'verdict')
  try {
    const recipients = await sql<RecipientRecord[]>`
      select r.message_id as id, r.n, r.forward_path as "forwardPath", r.state, r.dead_letter as "deadLetter", m.parent
      from recipients r join messages m on m.id = r.message_id`
    const attempts = await sql<AttemptRecord[]>`
      select message_id as id, number, coalesce(dots, recipients) as recipients, dot_at is not null as "dotSent",
             array(select key::int from jsonb_each(outcomes) where value -> 'reply' <> 'null' or value ->> 'phase' = 'local') as replied,
             ended_at is not null and not lost and outcomes = '{}' as "givenUp"
      from attempts`
    return judge({ seed, ledger: lines<LedgerEntry>(cluster.ledger), takings: lines<Taking>(cluster.takings), maildirs: readMaildirs(cluster.maildir), recipients, attempts })
  } finally {
    await sql.end()
  }
}

function lines<T>(path: string): T[] {
  return readFileSync(path, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line) as T)
}
