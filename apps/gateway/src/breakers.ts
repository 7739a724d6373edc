import { type BreakerTransition, type CircuitBreaker, CircuitBreakerRegistry } from '@gw/breaker'

/** The gateway's circuit breakers: whatever happens to one that is added here is told to `onTransition`. */
export class GatewayBreakers extends CircuitBreakerRegistry {
  readonly #onTransition: (transition: BreakerTransition) => void

  constructor(onTransition: (transition: BreakerTransition) => void) {
    super()
    this.#onTransition = onTransition
  }

  override add(name: string, breaker: CircuitBreaker): this {
    super.add(name, breaker)
    breaker.subscribe(this.#onTransition)
    return this
  }
}
