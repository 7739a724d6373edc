import type { Revisions, Tick } from '../wire.ts'
import { morph } from './morph.ts'
import { pageAt } from './page.ts'
import { onTick } from './stream.ts'

const quickMs = 2_000
const slowMs = 6_000

/**
 * Brings its parts with ids up to date from the page's own address when something of its topics has happened. A button with
 * `data-pause` inside the page holds it.
 */
export class LiveRegion extends HTMLElement {
  #ends: (() => void)[] = []
  #seen = ''
  #loadedAt = 0
  #loading: AbortController | undefined
  #paused = false

  connectedCallback(): void {
    if (this.hasAttribute('held')) return
    const topics = (this.getAttribute('topics') ?? '').split(' ') as (keyof Revisions)[]
    const gapMs = this.hasAttribute('slow') ? slowMs : quickMs
    this.#loadedAt = performance.now()
    this.#ends = [
      onTick((tick) => {
        const now = stateOf(tick, topics)
        if (this.#seen === '') this.#seen = now
        if (now === this.#seen || this.#loading !== undefined || performance.now() - this.#loadedAt < gapMs) return
        if (this.#paused) this.#tellState('Paused: there is news')
        else void this.#load(now)
      }),
    ]
    const back = () => void this.#load(this.#seen)
    document.addEventListener('gw-back', back)
    this.#ends.push(() => document.removeEventListener('gw-back', back))
    const pause = this.querySelector<HTMLButtonElement>('button[data-pause]')
    if (pause === null) return
    pause.hidden = false
    pause.addEventListener('click', () => this.#toggle())
    this.#tellState('Live')
  }

  disconnectedCallback(): void {
    for (const end of this.#ends) end()
    this.#loading?.abort()
  }

  #toggle(): void {
    this.#paused = !this.#paused
    this.#showPaused()
    if (!this.#paused) void this.#load(this.#seen)
  }

  #showPaused(): void {
    const button = this.querySelector<HTMLButtonElement>('button[data-pause]')
    if (button === null) return
    button.setAttribute('aria-pressed', String(this.#paused))
    button.textContent = this.#paused ? 'Go on live' : 'Pause'
    this.#tellState(this.#paused ? 'Paused' : 'Live')
  }

  #tellState(text: string): void {
    const state = this.querySelector('[data-live-state]')
    if (state !== null && state.textContent !== text) state.textContent = text
  }

  async #load(seen: string): Promise<void> {
    this.#loading?.abort()
    const loading = new AbortController()
    this.#loading = loading
    try {
      const page = await pageAt(location.href, loading.signal)
      if (page === 'elsewhere') location.reload()
      if (!(page instanceof Document) || loading.signal.aborted) return
      this.#seen = seen
      for (const part of this.querySelectorAll('[id]')) {
        if (part.parentElement?.closest('gw-live [id]') != null) continue
        const fresh = page.getElementById(part.id)
        if (fresh !== null) morph(part, fresh)
      }
      this.dispatchEvent(new Event('gw-fresh', { bubbles: true }))
    } finally {
      if (this.#loading === loading) this.#loading = undefined
      this.#loadedAt = performance.now()
    }
  }
}

function stateOf({ revisions, phase, storage }: Tick, topics: readonly (keyof Revisions)[]): string {
  return `${phase} ${storage} ${topics.map((topic) => revisions[topic]).join(' ')}`
}
