import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'

/** A loopback port that no other process of these services takes until it is released. */
export interface ClaimedPort {
  readonly port: number
  release(): void
}

// Below the range from which the kernel draws the ports of outgoing connections (32768 and up): a client that reconnects in a loop would otherwise
// take the port of a server that is down, or connect to itself. Redis Cluster's bus port (10000 higher) stays below it too.
const lowestPort = 10_240
const highestPort = 22_700

/** Finds a free port, with `port + busOffset` free as well where that is given. */
export async function claimPort(options: { readonly busOffset?: number } = {}): Promise<ClaimedPort> {
  for (;;) {
    const port = randomInt(lowestPort, highestPort)
    const wanted = options.busOffset === undefined ? [port] : [port, port + options.busOffset]
    const claims: Server[] = []
    for (const each of wanted) {
      // The kernel frees an abstract socket with its process, so a claim is never stale.
      const claim = await listening({ path: `\0gw-services-port-${each}` })
      if (claim) claims.push(claim)
    }
    const release = () => {
      for (const claim of claims) claim.close()
    }
    if (claims.length === wanted.length && (await allFree(wanted))) return { port, release }
    release()
  }
}

/** Loopback ports that nothing listens on and no service has claimed, for servers that are about to be started. */
export async function freePorts(count: number): Promise<number[]> {
  const claims: ClaimedPort[] = []
  while (claims.length < count) claims.push(await claimPort())
  for (const { release } of claims) release()
  return claims.map(({ port }) => port)
}

async function allFree(ports: readonly number[]): Promise<boolean> {
  for (const port of ports) {
    const probe = await listening({ host: '127.0.0.1', port })
    if (!probe) return false
    await new Promise((resolve) => probe.close(resolve))
  }
  return true
}

async function listening(address: { path: string } | { host: string; port: number }): Promise<Server | undefined> {
  const server = createServer().listen(address)
  try {
    await once(server, 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return undefined
    throw error
  }
  return server.unref()
}
