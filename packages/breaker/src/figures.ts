import type { CircuitState } from './transition.ts'

/** What a breaker has counted since it was made. */
export interface BreakerFigures {
  readonly successes: number
  readonly failures: number
  readonly neutral: number
  readonly rejected: number
  /** Calls that ended after the state they started in had. They change nothing. */
  readonly late: number
  readonly slow: number
  readonly timedOut: number
  readonly trials: number
  readonly hung: number
  readonly opened: number
  /** Failures at which a breaker that is forced closed or disabled would have opened. */
  readonly suppressed: number
  readonly warnings: number
}

/** A breaker as `GET /health/circuit-breakers` shows it. */
export interface BreakerJson {
  readonly state: CircuitState
  readonly failure_count: number
  readonly failure_rate: number
  readonly last_failure: string | null
  readonly next_attempt: string | null
}

/** Figures to count in. */
export function noFigures(): { -readonly [Figure in keyof BreakerFigures]: number } {
  return {
    successes: 0,
    failures: 0,
    neutral: 0,
    rejected: 0,
    late: 0,
    slow: 0,
    timedOut: 0,
    trials: 0,
    hung: 0,
    opened: 0,
    suppressed: 0,
    warnings: 0,
  }
}
