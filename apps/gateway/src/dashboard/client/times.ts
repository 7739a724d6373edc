import { relative } from './text.ts'

/** Keeps "3 min ago" true. */
export function followTimes(): void {
  setInterval(() => {
    if (document.hidden) return
    const now = Date.now()
    for (const element of document.querySelectorAll<HTMLTimeElement>('time[data-relative]')) {
      const text = relative(Date.parse(element.dateTime), now)
      if (element.textContent !== text) element.textContent = text
    }
  }, 1_000)
}
