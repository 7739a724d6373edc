import { InvalidArgumentError } from 'commander'
import { durationMs } from '../../config/units.ts'

/** A time of a filter: ISO 8601, seconds since 1970, or how long ago, as `2h`. As the admin API takes it. */
export function timeArgument(text: string): string {
  const ago = durationMs(text)
  if (ago !== undefined) return String((Date.now() - ago) / 1_000)
  if (/^\d+(?:\.\d+)?$/.test(text) || !Number.isNaN(Date.parse(text))) return text
  throw new InvalidArgumentError('Expected a time like 2026-01-31T12:00:00Z, or how long ago, like 2h.')
}

/** A period of an option, like `10s`, in milliseconds. */
export function periodArgument(text: string): number {
  const ms = durationMs(text)
  if (ms !== undefined && ms > 0) return ms
  throw new InvalidArgumentError('Expected a period like 500ms, 10s or 2min.')
}
