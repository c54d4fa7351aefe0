// The module hook behind install.ts: `store/attempts.js`, asked for by anyone but its stand-in, is its stand-in.

interface Resolved {
  url: string
}

const standIns = new Map([
  ['/store/accept.js', './accept.js'], ['/store/attempts.js', './attempts.js'], ['/store/bodies.js', './bodies.js'],
  ['/store/reports.js', './reports.js'], ['/smtp/transfer.js', './transfer.js'], ['/worker/starter.js', './starter.js'], ['/ingress/accept.js', './ingress.js'],
])

export async function resolve(
  specifier: string, context: { parentURL?: string }, next: (specifier: string, context: object) => Promise<Resolved>,
): Promise<Resolved> {
  const resolved = await next(specifier, context)
  if (context.parentURL?.includes('/test/chaos/faults/')) return resolved
  const standIn = [...standIns].find(([path]) => resolved.url.endsWith(`/dist${path}`))?.[1]
  return standIn ? { ...resolved, url: new URL(standIn, import.meta.url).href } : resolved
}
