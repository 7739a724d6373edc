/** Work that comes again by itself. */
export interface Periodic {
  start(): void
  /** Does it now, or joins what is under way. */
  now(): Promise<void>
  /** Ends the periods; resolves once nothing is under way. */
  stop(): Promise<void>
}

export interface PeriodicOptions {
  readonly everyMs: number
  readonly work: () => Promise<void>
  readonly onError: (error: unknown) => void
  readonly random: () => number
}

/** Does `work` every `everyMs`, one at a time. After a failure it comes again sooner: after 1 s, 2 s, 4 s and so on, each cut by chance. */
export function periodic({ everyMs, work, onError, random }: PeriodicOptions): Periodic {
  let timer: ReturnType<typeof setTimeout> | undefined
  let underWay: Promise<void> | undefined
  let failures = 0
  let stopped = true

  function wait(): void {
    if (stopped) return
    clearTimeout(timer)
    const ms =
      failures === 0
        ? everyMs * (0.9 + 0.2 * random())
        : Math.min(everyMs, 1_000 * 2 ** (failures - 1)) * (0.5 + random() / 2)
    timer = setTimeout(() => void now().catch(onError), Math.min(ms, 2 ** 31 - 1))
    // A timer of Node keeps its process alive unless told; elsewhere it is a number.
    if (typeof timer === 'object') (timer as { unref?(): void }).unref?.()
  }

  function now(): Promise<void> {
    underWay ??= work()
      .then(
        () => {
          failures = 0
        },
        (error: unknown) => {
          failures++
          throw error
        },
      )
      .finally(() => {
        underWay = undefined
        wait()
      })
    return underWay
  }

  return {
    start() {
      if (!stopped) return
      stopped = false
      wait()
    },
    now,
    async stop() {
      stopped = true
      clearTimeout(timer)
      await underWay?.catch(() => {})
    },
  }
}
