// The clocks of two of our processes are wrong, by an hour or by a day, and jump while they run; theirs alone, by libfaketime.

import type { Acts } from './act.ts'

export const clockActs: Acts = {
  'a clock jumps': {
    weight: 2,
    do: (cluster, random) => cluster.setClock(random.pick(['ingress', 'worker'] as const), random.pick([-86_400, -3600, 0, 3600, 86_400])),
  },
}
