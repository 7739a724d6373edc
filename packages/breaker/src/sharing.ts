import type { BreakerTransition } from './transition.ts'
import type { Verdict } from './verdict.ts'

/** One of the cluster's trials, which this node may make. */
export interface Probe {
  settle(verdict: Verdict): void
}

/** A cluster's part in one breaker. */
export interface BreakerLink {
  /** A trial to make, `none` at the moment, or `alone` when the cluster cannot be asked. Never waits. */
  probe(): Probe | 'none' | 'alone'
  moved(transition: BreakerTransition): void
}
