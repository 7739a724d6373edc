import { appendFileSync } from 'node:fs'

/** One execution of an item's function. */
export interface Effect {
  readonly run: string
  readonly item: number
  readonly attempt: number
}

/** A file with one JSON line for each time that an item's function ran, written before its result is kept. */
export interface EffectLog {
  append(effect: Effect): void
}

/** Appends to `file`; what a killed process has appended stays. */
export function fileEffectLog(file: string): EffectLog {
  return {
    append(effect) {
      appendFileSync(file, `${JSON.stringify(effect)}\n`, { mode: 0o600 })
    },
  }
}
