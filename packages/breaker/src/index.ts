export type { CallContext, RunOptions } from './attempt.ts'
export { CircuitBreaker, type Operator } from './circuit-breaker.ts'
export { loadCockatiel } from './era.ts'
export { BreakerError, type BreakerErrorCode, CircuitBreakerOpenError } from './errors.ts'
export { customFetch, type Fetch, type FetchWithBreakerOptions, fetchWithBreaker } from './fetch.ts'
export type { BreakerFigures, BreakerJson } from './figures.ts'
export { type BreakerOptions, breaker, failureByStatus } from './middleware.ts'
export type { CallOutcome, CircuitBreakerOptions } from './options.ts'
export type { Permit } from './permit.ts'
export { CircuitBreakerRegistry, type CircuitBreakerRegistryOptions } from './registry.ts'
export type { BreakerSnapshot } from './snapshot.ts'
export type {
  BreakerTransition,
  BreakerWarning,
  CircuitState,
  ForcedMode,
  TransitionReason,
  TransitionType,
} from './transition.ts'
export type { ErrorMatcher, Verdict } from './verdict.ts'
