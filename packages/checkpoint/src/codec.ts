import { CheckpointError } from './errors.ts'

const tag = '$gw'
const typedArrays: Readonly<Record<string, new (buffer: ArrayBuffer) => ArrayBufferView>> = {
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
}

/**
 * Text that {@link decode} turns back into an equal value. Keeps what JSON loses or refuses: `undefined`, `Date`, `bigint`, `NaN`
 * and the infinities, `-0`, `Map`, `Set`, typed arrays, `Error`. Throws `not_serializable` with the path of anything else.
 */
export function encode(value: unknown): string {
  return JSON.stringify(pack(value, '', new Set()))
}

/** The value that {@link encode} was given. */
export function decode(text: string): unknown {
  return unpack(JSON.parse(text))
}

function pack(value: unknown, path: string, above: Set<object>): unknown {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0)
        ? value
        : { [tag]: 'number', v: Object.is(value, -0) ? '-0' : String(value) }
    case 'undefined':
      return { [tag]: 'undefined' }
    case 'bigint':
      return { [tag]: 'bigint', v: String(value) }
    case 'object':
      return value === null ? null : packObject(value, path, above)
    default:
      throw unserializable(path, `a ${typeof value}`)
  }
}

function packObject(value: object, path: string, above: Set<object>): unknown {
  if (above.has(value)) throw unserializable(path, 'a value that contains itself')
  above.add(value)
  try {
    return packFresh(value, path, above)
  } finally {
    above.delete(value)
  }
}

function packFresh(value: object, path: string, above: Set<object>): unknown {
  if (Array.isArray(value)) return value.map((item, i) => pack(item, `${path}[${i}]`, above))
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) {
    const packed: Record<string, unknown> = {}
    let plain = true
    for (const key of Object.keys(value)) {
      if (key === tag || key === '__proto__') plain = false
      else packed[key] = pack((value as Record<string, unknown>)[key], path === '' ? key : `${path}.${key}`, above)
    }
    if (plain) return packed
    return {
      [tag]: 'object',
      v: Object.entries(value).map(([key, item]) => [key, pack(item, `${path}.${key}`, above)]),
    }
  }
  if (value instanceof Date) return { [tag]: 'Date', v: pack(value.getTime(), path, above) }
  if (value instanceof Map) {
    return {
      [tag]: 'Map',
      v: [...value].map(([key, item], i) => [
        pack(key, `${path}.key(${i})`, above),
        pack(item, `${path}.get(${i})`, above),
      ]),
    }
  }
  if (value instanceof Set)
    return { [tag]: 'Set', v: [...value].map((item, i) => pack(item, `${path}.item(${i})`, above)) }
  if (value instanceof Error) return packError(value, path, above)
  if (value instanceof ArrayBuffer) return { [tag]: 'ArrayBuffer', v: base64(new Uint8Array(value)) }
  if (ArrayBuffer.isView(value)) {
    const name = nameOfView(value)
    if (name !== undefined)
      return { [tag]: name, v: base64(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)) }
  }
  throw unserializable(path, `an instance of ${value.constructor?.name || 'a class'}`)
}

function packError(error: Error, path: string, above: Set<object>): unknown {
  const own = Object.fromEntries(Object.entries(error).filter(([key]) => key !== 'stack'))
  return {
    [tag]: 'Error',
    v: {
      name: error.name,
      message: error.message,
      own: pack(own, path, above),
      cause: pack(error.cause, `${path}.cause`, above),
    },
  }
}

function nameOfView(value: ArrayBufferView): string | undefined {
  for (let at: object | null = value; at !== null; at = Object.getPrototypeOf(at)) {
    const name = at.constructor.name
    if (name in typedArrays) return name
  }
  return undefined
}

function unpack(packed: unknown): unknown {
  if (typeof packed !== 'object' || packed === null) return packed
  if (Array.isArray(packed)) return packed.map(unpack)
  const object = packed as Record<string, unknown>
  const kind = object[tag]
  if (kind === undefined) {
    for (const key of Object.keys(object)) object[key] = unpack(object[key])
    return object
  }
  return unpackTagged(String(kind), object['v'])
}

function unpackTagged(kind: string, v: unknown): unknown {
  switch (kind) {
    case 'undefined':
      return undefined
    case 'number':
      return Number(v)
    case 'bigint':
      return BigInt(v as string)
    case 'Date':
      return new Date(unpack(v) as number)
    case 'Map':
      return new Map((v as [unknown, unknown][]).map(([key, item]) => [unpack(key), unpack(item)]))
    case 'Set':
      return new Set((v as unknown[]).map(unpack))
    case 'object': {
      const object: Record<string, unknown> = {}
      for (const [key, item] of v as [string, unknown][]) {
        Object.defineProperty(object, key, {
          value: unpack(item),
          enumerable: true,
          writable: true,
          configurable: true,
        })
      }
      return object
    }
    case 'Error': {
      const { name, message, own, cause } = v as { name: string; message: string; own: unknown; cause: unknown }
      const error = new Error(message, { cause: unpack(cause) })
      Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true })
      return Object.assign(error, unpack(own))
    }
    case 'ArrayBuffer':
      return unbase64(v as string)
    default: {
      const View = typedArrays[kind]
      if (View === undefined) throw new CheckpointError('corrupt_record', `A kept value has the unknown kind ${kind}`)
      return new View(unbase64(v as string))
    }
  }
}

/** RFC 4648 §4, where runtimes have no call of their own. */
export function base64(bytes: Uint8Array): string {
  let binary = ''
  for (let i = 0; i < bytes.length; i += 8_192) binary += String.fromCharCode(...bytes.subarray(i, i + 8_192))
  return btoa(binary)
}

/** The bytes of {@link base64}. */
export function unbase64(text: string): ArrayBuffer {
  const binary = atob(text)
  const bytes = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
  return bytes.buffer
}

function unserializable(path: string, what: string): CheckpointError {
  return new CheckpointError(
    'not_serializable',
    `Expected \`${path || 'the result'}\` to be a value that can be kept, got ${what}`,
  )
}
