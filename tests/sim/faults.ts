import type { Chance } from './chance.ts'

/** Every kind of fault. Each must have fired over a whole run of the simulator. */
export const faultKinds = [
  'reply_lost',
  'late_commit',
  'not_sent',
  'refused',
  'slow',
  'torn_commit',
  'store_crash',
  'store_clock_jump',
  'store_partition',
  'crash',
  'crash_before_call',
  'crash_after_call',
  'pause',
  'beats_lost',
  'dependency_away',
  'handover',
  'node_clock_jump',
  'request_dropped',
  'request_duplicated',
  'half_open',
  'network_delay',
  'news_lost',
] as const

export type FaultKind = (typeof faultKinds)[number]

/** Which faults a seed has and how often; after {@link Faults.quiet} there are none. */
export class Faults {
  readonly fired: Record<string, number> = {}
  readonly #chance: Chance
  readonly #ratios = new Map<FaultKind, number>()
  quiet = false

  constructor(chance: Chance) {
    this.#chance = chance
    // Some seeds are calm and some wild; in each, some kinds of fault are left out, so that the others meet alone.
    const wildness = chance.pick([0.2, 0.6, 1, 1, 2])
    for (const kind of faultKinds) this.#ratios.set(kind, chance.odds(0.6) ? wildness * chance.between(0.3, 1) : 0)
    // In others one kind comes again and again.
    if (chance.odds(0.4)) this.#ratios.set(chance.pick(faultKinds), chance.between(3, 8))
  }

  /** Whether the fault happens now, which it does `ratio` of the time in a seed of middling wildness. */
  happens(kind: FaultKind, ratio: number): boolean {
    if (this.quiet || !this.#chance.odds(ratio * this.#ratios.get(kind)!)) return false
    this.count(kind)
    return true
  }

  count(kind: FaultKind): void {
    this.fired[kind] = (this.fired[kind] ?? 0) + 1
  }
}
