import type { Chance } from './chance.ts'
import type { Faults } from './faults.ts'
import type { Host, Loop } from './loop.ts'
import type { SimNode } from './node.ts'

/** What goes wrong with whole machines. */
export class Chaos {
  readonly #loop: Loop
  readonly #faults: Faults
  readonly #chance: Chance
  readonly #nodes: readonly SimNode[]
  readonly #leaseMs: number
  readonly #cuts = new Map<SimNode, { readonly until: number; readonly how: 'both' | 'replies' }>()
  readonly #silent = new Map<SimNode, number>()
  #awayUntil = 0
  storeDownUntil = 0
  /** How far the database server's wall clock is off. */
  storeWallMs = 0
  crashes = 0

  constructor(loop: Loop, faults: Faults, chance: Chance, nodes: readonly SimNode[], leaseMs: number) {
    this.#loop = loop
    this.#faults = faults
    this.#chance = chance
    this.#nodes = nodes
    this.#leaseMs = leaseMs
  }

  /** Lets things go wrong until the quiet end. */
  async live(): Promise<void> {
    while (!this.#faults.quiet) {
      await this.#loop.sleep(this.#chance.between(100, 1.2 * this.#leaseMs))
      if (this.#faults.quiet) return
      const node = this.#chance.pick(this.#nodes)
      const forMs = this.#chance.between(0.1, 3) * this.#leaseMs
      if (this.#faults.happens('crash', 0.25)) this.#crash(node, forMs)
      if (this.#faults.happens('pause', 0.2)) {
        this.#loop.note(node.name, `is paused for ${forMs.toFixed(0)} ms`)
        node.pause(forMs)
      }
      if (this.#faults.happens('beats_lost', 0.2)) {
        this.#loop.note(node.name, `has no heartbeat for ${(2 * forMs).toFixed(0)} ms`)
        this.#silent.set(node, this.#loop.now + 2 * forMs)
      }
      if (this.#faults.happens('dependency_away', 0.3)) this.#awayUntil = this.#loop.now + forMs
      if (this.#faults.happens('store_partition', 0.2)) {
        const how = this.#chance.odds(0.5) ? 'both' : 'replies'
        this.#loop.note(node.name, `is cut from the store (${how}) for ${forMs.toFixed(0)} ms`)
        this.#cuts.set(node, { until: this.#loop.now + forMs, how })
      }
      if (this.#faults.happens('store_crash', 0.1)) this.crashStore()
      if (this.#faults.happens('handover', 0.1)) this.#handOver(node)
      if (this.#faults.happens('node_clock_jump', 0.1)) node.jump(this.#chance.between(-3_000, 3_000))
      if (this.#faults.happens('store_clock_jump', 0.1))
        this.storeWallMs += this.#chance.pick([3_600_000, 86_400_000, -3_600_000, 7_200_000])
    }
  }

  /** Ends what goes wrong; whatever is down comes up. */
  quiet(): void {
    this.#faults.quiet = true
    this.#cuts.clear()
    this.#silent.clear()
    this.#awayUntil = 0
    this.storeDownUntil = 0
    for (const node of this.#nodes) {
      if (node.life === undefined) node.start()
      else node.life.host.pausedUntil = 0
    }
  }

  isCut(host: Host): 'both' | 'replies' | undefined {
    const node = this.#nodes.find(({ life }) => life?.host === host)
    const cut = node === undefined ? undefined : this.#cuts.get(node)
    return cut !== undefined && cut.until > this.#loop.now ? cut.how : undefined
  }

  /** How long the breaker of the dependency stays open. */
  awayForMs(): number {
    return Math.min(this.#awayUntil - this.#loop.now, this.#leaseMs)
  }

  /** Whether what a node says about being alive does not get through, though all else does: its lease lapses while it works. */
  isSilent(host: Host): boolean {
    const node = this.#nodes.find(({ life }) => life?.host === host)
    return node !== undefined && (this.#silent.get(node) ?? 0) > this.#loop.now
  }

  crashStore(): void {
    this.#loop.note('store', 'crashes')
    this.storeDownUntil = this.#loop.now + this.#chance.between(0.05, 1.2) * this.#leaseMs
  }

  crashNode(host: Host): void {
    const node = this.#nodes.find(({ life }) => life?.host === host)
    if (node !== undefined) this.#crash(node, this.#chance.between(0.1, 2) * this.#leaseMs)
  }

  #crash(node: SimNode, forMs: number): void {
    if (node.life === undefined) return
    this.#loop.note(node.name, 'crashes')
    node.crash()
    this.crashes++
    this.#startLater(node, forMs)
  }

  #handOver(node: SimNode): void {
    const { life } = node
    if (life === undefined) return
    this.#loop.note(node.name, 'gets SIGTERM')
    void node.handOver(this.#chance.between(0, this.#leaseMs)).then(() => {
      if (node.life === undefined) this.#startLater(node, 10)
    })
    // An orchestrator does not wait for ever.
    this.#loop.after(2 * this.#leaseMs, undefined, `kill ${node.name}`, () => {
      if (node.life === life) this.#crash(node, 10)
    })
  }

  #startLater(node: SimNode, afterMs: number): void {
    this.#loop.after(afterMs, undefined, `start ${node.name}`, () => {
      if (node.life === undefined) node.start()
    })
  }
}
