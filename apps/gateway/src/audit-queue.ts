import type { EventStore } from '@gw/events'

/**
 * Appends to the audit trail what nobody waits for: transitions of breakers and pools. They keep their order, and
 * {@link settled} is for whoever must know that they are durable.
 */
export class AuditQueue {
  readonly #events: EventStore
  readonly #onError: (error: unknown) => void
  #last: Promise<unknown> = Promise.resolve()
  #failure: { readonly error: unknown } | undefined

  constructor(events: EventStore, onError: (error: unknown) => void) {
    this.#events = events
    this.#onError = onError
  }

  append(type: string, data: unknown, about: { readonly actor?: string; readonly subject: string }): void {
    this.#last = this.#last
      .then(() => this.#events.append(type, data, about))
      .catch((error: unknown) => {
        this.#failure = { error }
        this.#onError(error)
      })
  }

  /** Resolves when everything appended so far is durable; rejects where something since the last call is not. */
  async settled(): Promise<void> {
    await this.#last
    const failure = this.#failure
    this.#failure = undefined
    if (failure !== undefined) throw failure.error
  }
}
