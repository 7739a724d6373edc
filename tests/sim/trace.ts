/** What happened, as a hash of all of it, and as lines where they are wanted. */
export class Trace {
  readonly lines: string[] | undefined
  #low = 0x811c9dc5
  #high = 0x01000193
  events = 0

  constructor(kept: boolean) {
    this.lines = kept ? [] : undefined
  }

  add(at: number, who: string, what: string): void {
    this.events++
    const line = `${at.toFixed(3)} ${who} ${what}`
    for (let i = 0; i < line.length; i++) {
      this.#low = Math.imul(this.#low ^ line.charCodeAt(i), 0x01000193)
      this.#high = Math.imul(this.#high ^ line.charCodeAt(i), 0x5bd1e995) + i
    }
    if (this.lines !== undefined && what !== 'timer' && what !== 'sleep') this.lines.push(line)
  }

  get hash(): string {
    return [this.#low, this.#high].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('')
  }
}
