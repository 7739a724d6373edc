/** What went wrong. Branch on this, never on the class. */
export type DedupErrorCode = 'invalid_option' | 'secret_mismatch' | 'corrupt_record'

/** Every error that this package throws; what a client can cause is a response instead. */
export class DedupError extends Error {
  override readonly name = 'DedupError'
  readonly code: DedupErrorCode

  constructor(code: DedupErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
