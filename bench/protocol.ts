// What the benchmark and its child processes say to each other.

import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface CeilingRequest {
  temporal: string
  atOnce: number
  seconds: number
}

export interface LoadRequest {
  /** Port of an smtp listener on 127.0.0.1. */
  port: number
  clients: number
  seconds: number
  /** Octets of a message. */
  size: number
  /** A client goes on when its message has come out at the sink, rather than when it was accepted. */
  untilDelivered: boolean
  /** A connection for each message, rather than one that is kept. */
  reconnect?: boolean
  /** Messages a second in all; 0: as fast as it goes. */
  rate: number
}

export interface LoopRequest {
  database: string
  connections: number
  seconds: number
  size: number
}

export interface Figures {
  count: number
  seconds: number
  /** Milliseconds, unsorted. */
  latencies: number[]
}

/** Milliseconds before anything is counted: until caches and compiled code are what they are in a process that has run for a while. */
export function warmUp(seconds: number): number {
  return Math.max(2, seconds * 0.6) * 1000
}

export function reply(message: object): void {
  process.send!(message)
}

export interface Child {
  pid: number
  /** What the child says first, when it has something to say before its request. */
  hello: Promise<Record<string, number>>
  /** Sends the request; resolves with the figures, and calls `measuring` when the warm-up is over. */
  ask(request: object, measuring?: () => void): Promise<Figures>
  /** Ends a child that was only needed for what it said first. */
  end(): void
}

/** Starts `bench/<name>.js` in a process of its own. It ends with its answer. */
export function startChild(name: string): Child {
  const child = fork(fileURLToPath(new URL(`${name}.js`, import.meta.url)))
  let said = (_: Record<string, number>) => {}
  let answered = (_: Figures) => {}
  let failed = (_: Error) => {}
  let onMeasuring = () => {}
  const hello = new Promise<Record<string, number>>((resolve) => { said = resolve })
  const answer = new Promise<Figures>((resolve, reject) => {
    answered = resolve
    failed = reject
  })
  answer.catch(() => {})
  child.on('message', (message: Record<string, number> & Figures) => {
    if ('latencies' in message) {
      answered(message)
      child.kill()
    } else if ('measuring' in message) onMeasuring()
    else said(message)
  })
  child.once('exit', (code) => failed(new Error(`bench/${name} ended with exit code ${code}`)))
  return {
    pid: child.pid!, hello,
    ask(request, measuring = () => {}) {
      onMeasuring = measuring
      child.send(request)
      return answer
    },
    end: () => void child.kill(),
  }
}
