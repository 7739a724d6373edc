import { count, paintAside, size } from './terminal.ts'

/** Shows how far long work is, on a terminal only. */
export interface Progress {
  /** `of` may become known on the way. */
  at(done: number, of?: number): void
  end(): void
}

/** What clears a line that the next output would run into. */
const clear = '\r\u001b[2K'
const everyMs = 80

/** A bar on the terminal behind stderr; nothing where there is none. */
export function progressOf(
  label: string,
  { of = 0, unit }: { readonly of?: number; readonly unit: 'bytes' | string },
): Progress {
  const { stderr } = process
  if (stderr.isTTY !== true) return { at() {}, end() {} }
  const figure = (value: number) => (unit === 'bytes' ? size(value) : `${count(value)} ${unit}`)
  const began = performance.now()
  let total = of
  let drawn = Number.NEGATIVE_INFINITY
  const draw = (done: number) => {
    const seconds = (performance.now() - began) / 1_000
    const rate = seconds > 0.5 ? `  ${figure(done / seconds)}/s` : ''
    const ratio = total > 0 ? Math.min(1, done / total) : undefined
    const room = Math.max(10, Math.min(40, (stderr.columns ?? 80) - label.length - 45))
    const filled = Math.round((ratio ?? 0) * room)
    const bar = ratio === undefined ? '' : ` ${'━'.repeat(filled)}${paintAside.dim('━'.repeat(room - filled))}`
    const share = ratio === undefined ? '' : ` ${String(Math.floor(ratio * 100)).padStart(3)} %`
    stderr.write(`${clear}${label}${bar}${share}  ${figure(done)}${rate}`)
  }
  return {
    at(done, known) {
      if (known !== undefined) total = known
      const now = performance.now()
      if (now - drawn < everyMs) return
      drawn = now
      draw(done)
    },
    end: () => void stderr.write(clear),
  }
}
