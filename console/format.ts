// How listings, of the command line and of the page, write ages, sizes and tables.

/** The two largest units of a span of milliseconds: `3d 4h`, `12s`. */
export function span(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000))
  const parts = [[Math.floor(seconds / 86400), 'd'], [Math.floor(seconds / 3600) % 24, 'h'], [Math.floor(seconds / 60) % 60, 'm'], [seconds % 60, 's']] as const
  const from = Math.max(0, parts.findIndex(([value]) => value > 0))
  const shown = parts.slice(from === -1 ? 3 : from, from + 2).filter(([value], i) => value > 0 || i === 0)
  return seconds === 0 ? '0s' : shown.map(([value, unit]) => `${value}${unit}`).join(' ')
}

/** A moment, and how far it is from now: `2026-11-24 05:00:00Z (in 4m 59s)`. */
export function moment(at: Date, now = Date.now()): string {
  const distance = at.getTime() - now
  const relative = distance >= 0 ? `in ${span(distance)}` : `${span(-distance)} ago`
  return `${at.toISOString().replace('T', ' ').slice(0, 19)}Z (${relative})`
}

/** Columns padded to their widest cell. */
export function table(rows: string[][]): string {
  const widths = rows.reduce<number[]>((most, row) => row.map((cell, i) => Math.max(cell.length, most[i] ?? 0)), [])
  return rows.map((row) => row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!))).join('  ')).join('\n')
}

export function address(path: string): string {
  return path === '' ? '<>' : path
}
