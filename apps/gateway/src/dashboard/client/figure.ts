import type { Column, Tick } from '../wire.ts'
import { onTick } from './stream.ts'
import { count, figure } from './text.ts'

/** One figure of the last ten seconds. */
export class LiveFigure extends HTMLElement {
  #end: (() => void) | undefined

  connectedCallback(): void {
    const column = this.getAttribute('column') as Column
    this.#end = onTick(({ figures }) => write(this, figure(figures[column])))
  }

  disconnectedCallback(): void {
    this.#end?.()
  }
}

/** The counts of the overview, by status. */
export function showCounts({ counts }: Tick): void {
  for (const element of document.querySelectorAll<HTMLElement>('[data-count]'))
    write(element, count(counts[element.dataset['count'] ?? ''] ?? 0))
}

function write(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text
}
