import type { BreakerSettings } from './options.ts'
import type { BreakerTransition, BreakerWarning } from './transition.ts'

/** Whoever is told of a breaker. A hook that throws or rejects is a warning and nothing else. */
export class Hooks {
  warnings = 0
  readonly #settings: BreakerSettings
  readonly #listeners = new Set<(transition: BreakerTransition) => unknown>()

  constructor(settings: BreakerSettings) {
    this.#settings = settings
    if (settings.onTransition !== undefined) this.#listeners.add(settings.onTransition)
  }

  get listened(): boolean {
    return this.#listeners.size > 0
  }

  subscribe(listener: (transition: BreakerTransition) => unknown): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  moved(transition: BreakerTransition): void {
    for (const listener of this.#listeners) this.tell(() => listener(transition))
  }

  tell(hook: () => unknown): void {
    try {
      const answer = hook()
      if (isThenable(answer)) answer.then(undefined, (cause) => this.warn('hook_failed', 'A hook rejected', cause))
    } catch (cause) {
      this.warn('hook_failed', 'A hook threw', cause)
    }
  }

  warn(code: BreakerWarning['code'], message: string, cause?: unknown): void {
    this.warnings++
    try {
      const answer = this.#settings.onWarning?.({ name: this.#settings.name, code, message, cause })
      if (isThenable(answer)) answer.then(undefined, () => {})
    } catch {
      // Nobody is left to tell.
    }
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { readonly then?: unknown } | null | undefined)?.then === 'function'
}
