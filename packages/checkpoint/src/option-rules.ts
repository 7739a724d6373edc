import { CheckpointError } from './errors.ts'

/** What an option must be, and how to say so. */
export interface OptionRule {
  readonly expected: string
  readonly accepts: (value: unknown) => boolean
  readonly required?: boolean
}

export const aboveZero: OptionRule = {
  expected: 'a finite number above 0',
  accepts: (value) => typeof value === 'number' && Number.isFinite(value) && value > 0,
}
export const zeroOrMore: OptionRule = {
  expected: 'a finite number, 0 or above',
  accepts: (value) => typeof value === 'number' && Number.isFinite(value) && value >= 0,
}
export const aFunction: OptionRule = { expected: 'a function', accepts: (value) => typeof value === 'function' }

/** A rule for objects that have these methods. */
export function having(what: string, ...methods: readonly string[]): OptionRule {
  return {
    expected: what,
    accepts: (value) =>
      typeof value === 'object' &&
      value !== null &&
      methods.every((name) => typeof (value as Record<string, unknown>)[name] === 'function'),
  }
}

/** Throws `invalid_option` for the first option that is unknown, missing or out of range. */
export function checkOptions(options: object, rules: Readonly<Record<string, OptionRule>>): void {
  for (const name of Object.keys(options))
    if (!Object.hasOwn(rules, name)) throw new CheckpointError('invalid_option', `Unknown option \`${name}\``)
  for (const [name, { expected, accepts, required = false }] of Object.entries(rules)) {
    const value = (options as Record<string, unknown>)[name]
    if (value === undefined ? required : !accepts(value))
      throw new CheckpointError('invalid_option', `Expected \`${name}\` to be ${expected}, got \`${shown(value)}\``)
  }
}

function shown(value: unknown): string {
  return typeof value === 'object' && value !== null ? 'an object' : String(value)
}
