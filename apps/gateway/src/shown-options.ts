import type { GatewayOptions } from './options.ts'

/** Options as they can be shown: what is an object of a class or a function is left out. */
export function shownOptions(options: GatewayOptions): unknown {
  const plain = (value: unknown): unknown => {
    if (typeof value === 'function' || value instanceof Uint8Array) return undefined
    if (typeof value !== 'object' || value === null) return value
    if (Array.isArray(value)) return value.map(plain)
    if (Object.getPrototypeOf(value) !== Object.prototype) return undefined
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]))
  }
  const { database: _database, logger: _logger, ...shown } = options
  return plain(shown)
}
