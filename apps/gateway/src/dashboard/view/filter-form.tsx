/** @jsxImportSource hono/jsx */
import type { Child } from 'hono/jsx'

/** The filters above a table, as a form that gets `action`; `rare` ones are behind a fold. */
export function FilterForm({
  label,
  action,
  filtered,
  rare,
  rareInUse,
  children,
}: {
  readonly label: string
  readonly action: string
  /** Whether anything is filtered, so that there is something to clear. */
  readonly filtered: boolean
  readonly rare: Child
  /** Whether one of the rare ones has a value, so that the fold is open. */
  readonly rareInUse: boolean
  readonly children: Child
}) {
  return (
    <search aria-label={label}>
      <form method="get" action={action}>
        <div class="filters">
          {children}
          <div class="actions">
            <button type="submit" class="primary">
              Filter
            </button>
            {filtered ? (
              <a class="button quiet" href={action}>
                Clear
              </a>
            ) : (
              ''
            )}
          </div>
        </div>
        <details class="more" open={rareInUse}>
          <summary>More filters</summary>
          <div class="filters">{rare}</div>
        </details>
      </form>
    </search>
  )
}
