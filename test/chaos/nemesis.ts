// The adversary: at moments and in an order that the seed decides, kills, pauses and starves what a cluster is made of.

import type { Acts } from './acts/act.ts'
import { clockActs } from './acts/clock.ts'
import { diskActs, powerGoes } from './acts/disk.ts'
import { networkActs, packetActs } from './acts/network.ts'
import { postgresActs } from './acts/postgres.ts'
import { processActs } from './acts/processes.ts'
import { temporalActs, wipe } from './acts/temporal.ts'
import { type Cluster, DiskGone, type Role } from './cluster.ts'
import { type Point, points } from './faults/points.ts'
import { randomOf } from './random.ts'

/** How Everpost is broken on purpose: 250 before COMMIT; the dot not marked; Maildirs not synced. */
export type Sabotage = 'early-250' | 'forget-dot' | 'no-sync'

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
  /** A negative control: only kill -9 of ours, and losses of power where these are to find it. */
  sabotage: Sabotage | undefined
}

export function createNemesis(cluster: Cluster, { seed, wipes, sabotage }: Options): Nemesis {
  const { means } = cluster
  const theirs: Acts = {
    ...postgresActs, ...temporalActs, ...networkActs, ...(means.packets ? packetActs : {}), ...(means.disk ? diskActs : {}),
    ...(means.faketime ? clockActs : {}), ...(wipes ? wipe : {}),
  }
  const tables = {
    ours: Object.entries(processActs).filter(([name]) => !sabotage || name.startsWith('kill -9')),
    theirs: Object.entries(theirs).filter(([name]) => !sabotage || (sabotage === 'no-sync' && name === powerGoes)),
  }
  const dice = { ours: randomOf(seed, 'ours'), theirs: randomOf(seed, 'theirs'), points: randomOf(seed, 'points') }
  const due: Point[] = [...points]
  return {
    async act(on) {
      let at = dice[on].next() * tables[on].reduce((sum, [, { weight }]) => sum + weight, 0)
      const found = tables[on].find(([, { weight }]) => {
        at -= weight
        return at < 0
      })
      if (!found) return null
      const [name, act] = found
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
      if (random.next() < 0.25) return ''
      const mine = (point: Point) => role === 'serve' || point.startsWith(role === 'ingress' ? 'I' : 'W')
      // Every point has its turn before one comes again.
      if (!due.some(mine)) due.push(...points.filter((point) => !due.includes(point)))
      const point = random.pick(due.filter(mine))
      due.splice(due.indexOf(point), 1)
      const rare = point === 'I2' || point === 'W7'
      return `${point}:${random.next() < 0.15 ? 'SIGSTOP' : 'SIGKILL'}:${random.between(1, rare ? 1 : 5)}`
    },
    async relent() {
      cluster.tellSink({ do: 'dns', answer: 'right' })
      if (means.faketime) for (const role of ['ingress', 'worker'] as const) cluster.setClock(role, 0)
      await cluster.keepServers()
    },
  }
}
