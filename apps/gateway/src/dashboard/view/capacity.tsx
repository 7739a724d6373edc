/** @jsxImportSource hono/jsx */
import { count } from './format.ts'

/** How much of a whole is used and how much lies ready, in words and as a bar. */
export function Capacity({ used, spare, whole }: { used: number; spare: number; whole: number }) {
  const share = (value: number) => (whole === 0 ? 0 : Math.min(100, (value / whole) * 100))
  return (
    <span class="capacity">
      <span>
        {count(used)} of {count(whole)} <span class="muted small">({count(spare)} idle)</span>
      </span>
      <svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
        <rect class="whole" width="100" height="8" />
        <rect class="used" width={share(used)} height="8" />
        <rect class="spare" x={share(used)} width={Math.min(share(spare), 100 - share(used))} height="8" />
      </svg>
    </span>
  )
}
