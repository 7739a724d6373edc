const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const units = ['B', 'KB', 'MB', 'GB', 'TB'] as const

/** A count with separators. */
export function count(value: number): string {
  return whole.format(value)
}

/** A figure in three significant digits at most, so that it keeps its width. */
export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–'
  if (value === 0) return '0'
  if (Math.abs(value) >= 100) return whole.format(value)
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2)
}

/** Bytes in units of 1,024. */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–'
  let unit = 0
  let size = value
  while (size >= 1_024 && unit < units.length - 1) {
    size /= 1_024
    unit++
  }
  return `${unit === 0 ? size : size.toFixed(size >= 100 ? 0 : 1)} ${units[unit]}`
}

/** A period in its two largest units. */
export function period(ms: number): string {
  if (!Number.isFinite(ms)) return '–'
  const size = Math.abs(ms)
  if (size < 1_000) return `${size < 10 && size % 1 !== 0 ? size.toFixed(1) : Math.round(size)} ms`
  const seconds = size / 1_000
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 60) return `${Math.round(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return seconds % 60 < 1 ? `${minutes} min` : `${minutes} min ${Math.floor(seconds % 60)} s`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
  return `${Math.floor(hours / 24)} d`
}

/** How far a time is from now, in its largest unit. */
export function relative(at: number, now: number): string {
  const away = Math.abs(now - at)
  const seconds = Math.round(away / 1_000)
  const text =
    seconds < 60
      ? `${seconds} s`
      : seconds < 3_600
        ? `${Math.floor(seconds / 60)} min`
        : seconds < 172_800
          ? `${Math.floor(seconds / 3_600)} h`
          : `${Math.floor(seconds / 86_400)} d`
  if (seconds < 1) return 'now'
  return at > now ? `in ${text}` : `${text} ago`
}

/** A time of day with its date, in UTC. */
export function absolute(at: number): string {
  return new Date(at).toISOString().replace('T', ' ').slice(0, 19)
}

/** A time of day, in UTC. */
export function clock(at: number): string {
  return new Date(at).toISOString().slice(11, 19)
}
