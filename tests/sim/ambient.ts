import type { Chance } from './chance.ts'

/**
 * The runtime trap: in a thread that simulates, whoever takes time, chance or timers from the runtime and not from a port is
 * found out. Web Crypto's random numbers are the one source of chance that the packages take from the platform; they are drawn
 * from the seed.
 */
export class Ambient {
  /** Where random bytes come from while a seed runs. */
  chance: Chance | undefined
  /** What was used without a port. */
  readonly uses: string[] = []

  install(): void {
    const trap =
      (name: string) =>
      (..._: unknown[]): never => {
        this.uses.push(`${name}${new Error('used').stack?.split('\n').slice(2, 5).join(' ')}`)
        throw new Error(`${name} was used without a port`)
      }
    const globals = globalThis as unknown as Record<string, unknown>
    for (const name of ['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval'])
      globals[name] = trap(name)
    Math.random = trap('Math.random')
    performance.now = trap('performance.now')
    const now = trap('Date.now')
    globals['Date'] = class extends Date {
      constructor(...values: [] | [number]) {
        if (values.length === 0) now()
        super(...(values as [number]))
      }
      static override now(): number {
        return now()
      }
    }
    const { subtle } = crypto
    const getRandomValues = (bytes: Uint8Array) => {
      for (let i = 0; i < bytes.length; i++) bytes[i] = this.chance!.below(256)
      return bytes
    }
    const randomUUID = () => {
      const hex = Array.from(getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`
    }
    Object.defineProperty(globalThis, 'crypto', { value: { subtle, getRandomValues, randomUUID } })
  }
}
