import { createHash } from 'node:crypto'
import { isIPv6 } from 'node:net'

const windowMs = 60_000
const maxGuesses = 10
const maxFailures = 200
const maxAddresses = 10_000

interface Failures {
  readonly since: number
  /** Digests of the wrong tokens. */
  readonly tokens: Set<string>
  readonly byPath: Map<string, number>
  count: number
}

/**
 * Counts wrong tokens by address. In a minute an address may bring ten different ones, or the same one ten times to one path, and fail
 * 200 times in all. Addresses are kept until their minute is over and never make room for others: beyond 10,000 of them all further
 * ones share one count, so that whoever has many addresses neither frees those that are held nor fills the memory.
 */
export class LoginThrottle {
  readonly #now: () => number
  readonly #byAddress = new Map<string, Failures>()
  readonly #others = 'others'

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** How long nobody at that address is listened to; 0 where they are. */
  waitMs(address: string): number {
    const failures = this.#failuresOf(this.#placeOf(address))
    if (failures === undefined) return 0
    const { tokens, byPath, count, since } = failures
    const many = tokens.size >= maxGuesses || count >= maxFailures || Math.max(...byPath.values()) >= maxGuesses
    return many ? since + windowMs - this.#now() : 0
  }

  /** Counts a wrong token. */
  failed(address: string, path: string, token: string): void {
    const place = this.#placeOf(address)
    const failures = this.#failuresOf(place) ?? {
      since: this.#now(),
      tokens: new Set<string>(),
      byPath: new Map<string, number>(),
      count: 0,
    }
    this.#byAddress.set(place, failures)
    failures.count++
    if (failures.tokens.size < maxGuesses) failures.tokens.add(createHash('sha256').update(token).digest('base64'))
    if (failures.byPath.size < maxFailures) failures.byPath.set(path, (failures.byPath.get(path) ?? 0) + 1)
  }

  get size(): number {
    return this.#byAddress.size
  }

  #failuresOf(place: string): Failures | undefined {
    const failures = this.#byAddress.get(place)
    if (failures === undefined || this.#now() - failures.since < windowMs) return failures
    this.#byAddress.delete(place)
    return undefined
  }

  #placeOf(address: string): string {
    const place = isIPv6(address) ? networkOf(address) : address
    if (this.#byAddress.has(place) || this.#byAddress.size < maxAddresses) return place
    // The oldest stand first: only what is over makes room.
    for (const [kept, { since }] of this.#byAddress) {
      if (this.#now() - since < windowMs) break
      this.#byAddress.delete(kept)
    }
    return this.#byAddress.size < maxAddresses ? place : this.#others
  }
}

/** The /64 of an IPv6 address: whoever has one address of it has them all. An IPv4 address in IPv6 form is itself. */
function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped !== null) return mapped[1]!
  const [head = '', tail] = (address.split('%')[0] ?? '').split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length)
  return [...before, ...new Array<string>(zeros).fill('0'), ...after]
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')
}
