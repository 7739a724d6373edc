export type { CallContext, RunOptions } from './attempt.ts'
export { type BreakerFigures, type BreakerJson, CircuitBreaker, type Operator } from './circuit-breaker.ts'
export { loadCockatiel } from './era.ts'
export { BreakerError, type BreakerErrorCode, CircuitBreakerOpenError } from './errors.ts'
export { type BreakerOptions, breaker, failureByStatus } from './middleware.ts'
export type { CallOutcome, CircuitBreakerOptions } from './options.ts'
export type { Permit } from './permit.ts'
export { CircuitBreakerRegistry, type CircuitBreakerRegistryOptions } from './registry.ts'
export { type BreakerSharing, type ShareBreakersOptions, type SharingHealth, shareBreakers } from './sharing.ts'
export type { BreakerSnapshot } from './snapshot.ts'
export type { BreakerStore, ClusterRequest, ClusterState, SettledProbe } from './store.ts'
export type {
  BreakerTransition,
  BreakerWarning,
  CircuitState,
  ForcedMode,
  TransitionReason,
  TransitionType,
} from './transition.ts'
export type { ErrorMatcher, Verdict } from './verdict.ts'
