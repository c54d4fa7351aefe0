// The adversary: at moments and in an order that the seed decides, kills, pauses and starves what a cluster is made of.

import type { Acts } from './acts/act.ts'
import { clockActs } from './acts/clock.ts'
import { diskActs } from './acts/disk.ts'
import { networkActs, packetActs } from './acts/network.ts'
import { postgresActs } from './acts/postgres.ts'
import { processActs } from './acts/processes.ts'
import { temporalActs, wipe } from './acts/temporal.ts'
import type { Cluster, Role } from './cluster.ts'
import { type Point, points } from './faults/points.ts'
import type { Random } from './random.ts'

export interface Nemesis {
  /** One act; resolves when its victims are being started again. Returns what it was, and which server died by it. */
  act(): Promise<{ name: string; killed: string | undefined }>
  /** How a process is armed when it starts. */
  arm(role: Role): string
  /** Undoes whatever lasts. */
  relent(): Promise<void>
}

/** `wipes`: among the acts is the loss of Temporal's database. `deadly`: only kill -9 of ours, for the negative controls. */
export function createNemesis(cluster: Cluster, random: Random, { wipes, deadly }: { wipes: boolean; deadly: boolean }): Nemesis {
  const { means } = cluster
  const all: Acts = {
    ...processActs, ...postgresActs, ...temporalActs, ...networkActs, ...(means.packets ? packetActs : {}), ...(means.disk ? diskActs : {}),
    ...(means.faketime ? clockActs : {}), ...(wipes ? wipe : {}),
  }
  const table = Object.entries(all).filter(([name]) => !deadly || (name.startsWith('kill -9') && name in processActs))
  const due: Point[] = [...points]
  const total = table.reduce((sum, [, { weight }]) => sum + weight, 0)
  return {
    async act() {
      let at = random.next() * total
      const [name, act] = table.find(([, { weight }]) => {
        at -= weight
        return at < 0
      })!
      cluster.note(name)
      try {
        await act.do(cluster, random)
        return { name, killed: act.kills }
      } catch (error) {
        // A database that is just coming back refuses some acts; that is no fault of anyone.
        cluster.note(`in vain: ${error}`)
        return { name: `${name}, in vain`, killed: undefined }
      }
    },
    arm(role) {
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
      await cluster.keepPostgres()
    },
  }
}
