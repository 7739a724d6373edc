/** Why a write, or the opening of a database, was refused. */
export type SqliteErrorCode =
  | 'refused'
  | 'constraint'
  | 'procedure_failed'
  | 'storage_full'
  | 'storage_failed'
  | 'write_queue_full'
  | 'unavailable'
  | 'unknown'
  | 'data_dir_locked'
  | 'data_dir_unsafe'
  | 'schema_too_new'
  | 'invalid_option'
  | 'closed'

/** Every error that this package throws. Branch on `code`. */
export class SqliteError extends Error {
  override readonly name = 'SqliteError'
  readonly code: SqliteErrorCode
  /** What the procedure gave to `refuse`, with code `refused`. */
  readonly reason: unknown

  constructor(code: SqliteErrorCode, message: string, options: { cause?: unknown; reason?: unknown } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.reason = options.reason
  }
}
