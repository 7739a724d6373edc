import type { Chance } from './chance.ts'

const factors = [0, 0.3, 1, 1, 2, 6] as const

/** What a seed does more of and less of than others, so that what seldom meets does so in some of them (swarm testing). */
export class Appetite {
  readonly #chance: Chance
  readonly #factors = new Map<string, number>()
  readonly #usual: boolean

  constructor(chance: Chance) {
    this.#chance = chance
    this.#usual = chance.odds(0.4)
  }

  /** Draws one of the names by its usual weight and this seed's taste for it. */
  pick<Name extends string>(chance: Chance, weights: Readonly<Record<Name, number>>): Name {
    const names = Object.keys(weights) as Name[]
    const tastes = names.map((name) => weights[name] * this.#factorOf(name))
    const total = tastes.reduce((sum, taste) => sum + taste, 0)
    let drawn = chance.next() * total
    for (const [i, name] of names.entries()) {
      drawn -= tastes[i]!
      if (drawn < 0) return name
    }
    return names[0]!
  }

  #factorOf(name: string): number {
    if (this.#usual) return 1
    const known = this.#factors.get(name)
    if (known !== undefined) return known
    const factor = this.#chance.pick(factors)
    this.#factors.set(name, factor)
    return factor
  }
}
