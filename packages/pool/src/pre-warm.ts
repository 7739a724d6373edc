import { PoolError } from './errors.ts'

/** Hours of the day in which more connections are kept. */
export interface PreWarmWindow {
  /** From the first hour up to, not including, the second; past midnight when the first is later, the whole day when they are equal. */
  readonly hours: readonly [from: number, to: number]
  /** How many to keep, between `min` and `max`. Where windows overlap the largest wins; in gaps it is `min`. */
  readonly target: number
  /** Whose hours they are, by IANA name. UTC */
  readonly timeZone?: string
}

/** How many connections a schedule asks for. */
export interface PreWarmSchedule {
  /** What is asked for at this wall-clock time; within `leadMs` before a window it grows from `min` to the window's target. */
  target(wallMs: number, min: number, max: number): number
}

const leadSteps = 20

const windowMembers: ReadonlySet<string> = new Set(['hours', 'target', 'timeZone'])

/** Refuses windows that mean nothing. */
export function checkPreWarm(windows: readonly PreWarmWindow[]): void {
  if (!Array.isArray(windows))
    throw new PoolError('invalid_option', `Expected \`preWarm\` to be a list, got \`${String(windows)}\``)
  for (const window of windows as readonly PreWarmWindow[]) {
    for (const member of Object.keys(window)) {
      if (!windowMembers.has(member))
        throw new PoolError('invalid_option', `Unknown option \`${member}\` of \`preWarm\``)
    }
    const { hours, target, timeZone } = window
    if (
      !Array.isArray(hours) ||
      hours.length !== 2 ||
      !hours.every((hour) => typeof hour === 'number' && hour >= 0 && hour <= 24)
    ) {
      throw new PoolError(
        'invalid_option',
        `Expected \`hours\` to be two numbers from 0 to 24, got \`${String(hours)}\``,
      )
    }
    if (!(Number.isSafeInteger(target) && target >= 0)) {
      throw new PoolError('invalid_option', `Expected \`target\` to be a whole number, got \`${String(target)}\``)
    }
    try {
      hourIn(timeZone)(0)
    } catch (cause) {
      throw new PoolError('invalid_option', `Expected \`timeZone\` to be an IANA name, got \`${String(timeZone)}\``, {
        cause,
      })
    }
  }
}

/** Reads the schedule off instants, never off sleeps, so that a change of the clocks moves the hours and nothing else. */
export function preWarmSchedule(windows: readonly PreWarmWindow[], leadMs: number): PreWarmSchedule {
  const read = windows.map(({ hours: [from, to], target, timeZone }) => {
    const hour = hourIn(timeZone)
    const includes = (wallMs: number): boolean => {
      const at = hour(wallMs)
      if (from === to) return true
      return from < to ? at >= from && at < to : at >= from || at < to
    }
    return { includes, target }
  })
  return {
    target(wallMs, min, max) {
      let target = min
      for (const window of read) {
        if (window.target <= target) continue
        if (window.includes(wallMs)) target = window.target
        else {
          for (let step = 1; leadMs > 0 && step <= leadSteps; step++) {
            if (!window.includes(wallMs + (leadMs * step) / leadSteps)) continue
            const share = 1 - (step - 1) / leadSteps
            target = Math.max(target, Math.ceil(min + (window.target - min) * share))
            break
          }
        }
      }
      return Math.min(Math.max(target, min), max)
    },
  }
}

/** The hour of the day, with its fraction, in a time zone. */
function hourIn(timeZone = 'UTC'): (wallMs: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    hourCycle: 'h23',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  })
  return (wallMs) => {
    let hours = 0
    for (const { type, value } of format.formatToParts(wallMs)) {
      if (type === 'hour') hours += Number(value)
      else if (type === 'minute') hours += Number(value) / 60
      else if (type === 'second') hours += Number(value) / 3_600
    }
    return hours
  }
}
