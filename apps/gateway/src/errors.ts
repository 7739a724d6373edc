/** Why a gateway could not be made, started or used. */
export type GatewayErrorCode =
  | 'invalid_option'
  | 'unknown_option'
  | 'no_embedded_database'
  | 'unknown_pool'
  | 'invalid_configuration'
  | 'port_in_use'
  | 'admin_token_missing'
  | 'admin_token_short'
  | 'already_running'
  | 'privacy_off'

/** Every error that the gateway itself throws. Branch on `code`. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError'
  readonly code: GatewayErrorCode

  constructor(code: GatewayErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
