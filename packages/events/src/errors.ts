/** What went wrong. Branch on this, never on the class. */
export type EventErrorCode =
  | 'invalid_option'
  | 'invalid_query'
  | 'invalid_cursor'
  | 'empty_batch'
  | 'version_conflict'
  | 'id_conflict'

/** Every error that this package throws. */
export class EventError extends Error {
  override readonly name = 'EventError'
  readonly code: EventErrorCode
  /** The stream's version as it is, with `version_conflict`; -1 for a stream without events. */
  readonly actualVersion: number | undefined

  constructor(
    code: EventErrorCode,
    message: string,
    options: { readonly cause?: unknown; readonly actualVersion?: number } = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.actualVersion = options.actualVersion
  }
}
