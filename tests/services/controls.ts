import { setTimeout as sleep } from 'node:timers/promises'
import type { Home } from './home.ts'

/** What can be done to any of the servers. Its address and its data stay the same through all but `stop`. */
export interface Controls {
  /** The server's temporary folder, with its logs. */
  readonly folder: string
  /** Ends the server for good and removes its data. */
  stop(): Promise<void>
  /** SIGKILL to every process of the server; resolves when all are gone. */
  kill(): Promise<void>
  /** SIGSTOP to every process: connections stay open and nothing answers. */
  pause(): void
  /** Undoes `pause`. */
  resume(): void
  /** Shuts down in good order if it runs, waits `downMs`, and starts on the same data; resolves when it answers. */
  restart(options?: { readonly downMs?: number }): Promise<void>
}

/** The controls of one server in one home. */
export function controls(server: {
  readonly home: Home
  start(): Promise<void>
  shutDown(): Promise<void>
  /** Ends it when its data is not wanted any more. */
  discard(): Promise<void>
  release(): void
}): Controls {
  let stopping: Promise<void> | undefined
  const stop = async () => {
    await server.discard()
    await server.home.remove()
    server.release()
  }
  return {
    folder: server.home.folder,
    stop() {
      stopping ??= stop()
      return stopping
    },
    kill: () => server.home.kill(),
    pause: () => server.home.pause(),
    resume: () => server.home.resume(),
    async restart({ downMs = 0 } = {}) {
      await server.shutDown()
      if (downMs > 0) await sleep(downMs)
      await server.start()
    },
  }
}
