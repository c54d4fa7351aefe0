// Durations and sizes as operators write them: "5m", "50MiB". Always with a unit.

const durationUnits = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const sizeUnits = { B: 1, kB: 1000, KiB: 1024, MB: 1e6, MiB: 1024 ** 2, GB: 1e9, GiB: 1024 ** 3 }

export const durationForm = 'a duration with its unit: 500ms, 30s, 5m, 4h, 5d'
export const rateForm = 'a rate with its unit: 10/s, 100/m, 1000/h'
export const sizeForm = 'a size with its unit: 512KiB, 50MiB, 1GiB'

/** Milliseconds, or null when the text is no duration. */
export function parseDuration(text: string): number | null {
  return parse(text, durationUnits)
}

/** A second, or null when the text is no rate such as `10/s`, `100/m`, `1000/h`. */
export function parseRate(text: string): number | null {
  const match = /^(\d+(?:\.\d+)?)\s*\/\s*(s|m|h)$/.exec(text.trim())
  const per = match && Number(match[1]) / { s: 1, m: 60, h: 3600 }[match[2] as 's' | 'm' | 'h']
  return per !== null && per > 0 ? per : null
}

/** Bytes, or null when the text is no size. */
export function parseSize(text: string): number | null {
  return parse(text, sizeUnits)
}

function parse(text: string, units: Record<string, number>): number | null {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]+)$/.exec(text.trim())
  const unit = match ? units[match[2]!] : undefined
  return match && unit !== undefined ? Math.round(Number(match[1]) * unit) : null
}

/** The shortest exact way to write a number of bytes, in powers of 1024. */
export function formatSize(bytes: number): string {
  const [unit, size] = Object.entries({ B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }).findLast(([, size]) => bytes >= size && bytes % size === 0) ?? ['B', 1]
  return `${bytes / size}${unit}`
}
