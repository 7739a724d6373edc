/** @jsxImportSource hono/jsx */
import { absolute, relative } from './format.ts'

/** A moment: how long ago, and when in UTC. The browser keeps the first up to date. */
export function When({ at, now = Date.now(), short = false }: { at: number; now?: number; short?: boolean }) {
  const iso = new Date(at).toISOString()
  return (
    <span class="when">
      <time datetime={iso} title={`${absolute(at)} UTC`} data-relative="">
        {relative(at, now)}
      </time>
      {short ? '' : <span class="absolute"> {absolute(at)}&nbsp;UTC</span>}
    </span>
  )
}
