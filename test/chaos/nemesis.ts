// The adversary: at moments and in an order that the seed decides, kills, pauses and starves what a cluster is made of.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Acts } from './acts/act.ts'
import { clockActs } from './acts/clock.ts'
import { diskActs, powerGoes } from './acts/disk.ts'
import { networkActs, packetActs } from './acts/network.ts'
import { postgresActs } from './acts/postgres.ts'
import { processActs } from './acts/processes.ts'
import { temporalActs, wipe } from './acts/temporal.ts'
import { type Cluster, DiskGone, type Role } from './cluster.ts'
import { type Point, points } from './faults/points.ts'
import { readMaildirs } from './maildirs.ts'
import { randomOf } from './random.ts'

/** How Everpost is broken on purpose: 250 before COMMIT; the dot not marked; Maildirs not synced. */
export type Sabotage = 'early-250' | 'forget-dot' | 'no-sync'

/** What is to find each out: acts against ours and theirs, and points; other faults would only hide it. */
const controls: Record<Sabotage, { acts: (name: string) => boolean; points: Point[] }> = {
  'early-250': { acts: (name) => /^kill -9 (ingress|serve|all)/.test(name), points: [] },
  'forget-dot': { acts: () => false, points: ['W4', 'W5'] },
  'no-sync': { acts: (name) => name === powerGoes, points: [] },
}
/** Deliveries into Maildirs that there must be before the power goes, where these are not synced. */
const toBeLost = 5

export type Target = 'ours' | 'theirs'

export interface Done {
  name: string
  /** Which server died by it. */
  killed: string | undefined
}

export interface Nemesis {
  /** One act against our processes, or against what they stand on; null: there is none. Resolves when its victims are being started again. */
  act(on: Target): Promise<Done | null>
  /** How a process is armed when it starts. */
  arm(role: Role): string
  /** Undoes whatever lasts. */
  relent(): Promise<void>
}

interface Options {
  seed: number
  /** Among the acts is the loss of Temporal's database. */
  wipes: boolean
  /** A negative control. */
  sabotage: Sabotage | undefined
  /** Messages for each kill. */
  each: number
}

export function createNemesis(cluster: Cluster, { seed, wipes, sabotage, each }: Options): Nemesis {
  const { means } = cluster
  const theirs: Acts = {
    ...postgresActs, ...temporalActs, ...networkActs, ...(means.packets ? packetActs : {}), ...(means.disk ? diskActs : {}),
    ...(means.faketime ? clockActs : {}), ...(wipes ? wipe : {}),
  }
  const tables = {
    ours: Object.entries(processActs).filter(([name]) => !sabotage || controls[sabotage].acts(name)),
    theirs: Object.entries(theirs).filter(([name]) => !sabotage || controls[sabotage].acts(name)),
  }
  const dice = { ours: randomOf(seed, 'ours'), theirs: randomOf(seed, 'theirs'), points: randomOf(seed, 'points') }
  const all = sabotage ? controls[sabotage].points : points
  const due: Point[] = [...all]
  /** A loss of power that has nothing to lose tells nothing. */
  const somethingToLose = async () => {
    const mails = readMaildirs(cluster.maildir).size
    for (let waited = 0; waited < 20_000 && readMaildirs(cluster.maildir).size < mails + toBeLost; waited += 100) await sleep(100)
  }
  return {
    async act(on) {
      let at = dice[on].next() * tables[on].reduce((sum, [, { weight }]) => sum + weight, 0)
      const found = tables[on].find(([, { weight }]) => {
        at -= weight
        return at < 0
      })
      if (!found) return null
      const [name, act] = found
      if (sabotage === 'no-sync') await somethingToLose()
      cluster.note(name)
      try {
        await act.do(cluster, dice[on])
        return { name, killed: act.kills }
      } catch (error) {
        if (error instanceof DiskGone) throw error
        // A database that is just coming back refuses some acts; that is no fault of anyone.
        cluster.note(`${name}, in vain: ${error}`)
        // What it has ended is started again all the same, as its supervisor would.
        if (on === 'theirs') await cluster.keepServers().catch((error) => cluster.note(`not started again: ${error}`))
        return { name: `${name}, in vain`, killed: undefined }
      }
    },
    arm(role) {
      const random = dice.points
      const mine = (point: Point) => role === 'serve' || point.startsWith(role === 'ingress' ? 'I' : 'W')
      // With half of them armed, points strike as often as acts do.
      if (!all.some(mine) || (!sabotage && random.next() < 0.5)) return ''
      // Every point has its turn before one comes again.
      if (!due.some(mine)) due.push(...all.filter((point) => !due.includes(point)))
      const point = random.pick(due.filter(mine))
      due.splice(due.indexOf(point), 1)
      const rare = point === 'I2' || point === 'W7'
      return `${point}:${!sabotage && random.next() < 0.15 ? 'SIGSTOP' : 'SIGKILL'}:${random.between(1, rare || sabotage ? 1 : Math.ceil(each / 2))}`
    },
    async relent() {
      cluster.tellSink({ do: 'dns', answer: 'right' })
      if (means.faketime) for (const role of ['ingress', 'worker'] as const) cluster.setClock(role, 0)
      await cluster.keepServers()
    },
  }
}
