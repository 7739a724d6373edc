import { stripVTControlCharacters } from 'node:util'
import pc from 'picocolors'

/** Colours for a stream: only on a terminal, and not where `NO_COLOR` is set (no-color.org). */
function coloursFor({ isTTY }: { readonly isTTY?: boolean }): ReturnType<typeof pc.createColors> {
  const { NO_COLOR, TERM } = process.env
  return pc.createColors(isTTY === true && (NO_COLOR ?? '') === '' && TERM !== 'dumb')
}

/** Colours for what a command answers. */
export const paint = coloursFor(process.stdout)
/** Colours for what a command says beside its answer. */
export const paintAside = coloursFor(process.stderr)

/** How many columns an answer may take: those of the terminal, and any number where there is none. */
export function terminalWidth(): number {
  const told = Number(process.env['COLUMNS'])
  return process.stdout.columns ?? (Number.isInteger(told) && told > 0 ? told : Number.POSITIVE_INFINITY)
}

/** Text that others may have written, with nothing in it that a terminal would obey. */
export function plain(text: string): string {
  return stripVTControlCharacters(text).replaceAll(/\p{Cc}|\p{Cf}/gu, (character) =>
    character === '\n' ? '⏎' : character === '\t' ? ' ' : '�',
  )
}

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

/** A count, its thousands apart. */
export function count(value: number | bigint): string {
  return whole.format(value)
}

/** A count with its noun. */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${value === 1 ? noun : `${noun}s`}`
}

/** A size with three figures at most. */
export function size(bytes: number): string {
  let value = bytes
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1_000) return `${unit === 'B' || value >= 100 ? Math.round(value) : value.toFixed(1)} ${unit}`
    value /= 1_024
  }
  return `${value.toFixed(1)} TiB`
}

const steps: readonly (readonly [unit: string, ms: number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
]

/** A period, to the unit that says enough of it. */
export function period(ms: number): string {
  for (const [unit, length] of steps)
    if (ms >= length) {
      const value = ms / length
      return `${value < 9.95 ? Number(value.toFixed(1)) : Math.round(value)} ${unit}`
    }
  return `${Math.round(ms)} ms`
}

/** How long ago a time was, or how far off it is. */
export function relative(time: number, now = Date.now()): string {
  const away = Math.abs(now - time)
  if (away < 1_000) return 'now'
  return time <= now ? `${period(away)} ago` : `in ${period(away)}`
}
