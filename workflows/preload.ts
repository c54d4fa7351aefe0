// Loaded once in a worker's workflow thread, before any workflow: what all of them share, and one thing that none of them needs.

import './index.ts'

// For its stack trace query the SDK takes a stack at every promise that a workflow makes, with source maps: a quarter of the thread's
// CPU (docs/performance.md). It finds out whose a promise is by `promise.constructor.constructor`; here they are nobody's. What a
// message waits for, its status query and its details in Temporal's UI say in words.
Object.defineProperty(Promise, 'constructor', { value: () => () => undefined })
