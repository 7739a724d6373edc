/** The owner that a write names: `dedup` of `file:///…/sqlite.js#dedup.claim`; empty where it names none. */
export function ownerIn(procedure: string): string {
  const name = procedure.slice(procedure.lastIndexOf('#') + 1)
  return name.slice(0, Math.max(0, name.lastIndexOf('.')))
}

/** The export of `procedures` that a write names: `claim` of `file:///…/sqlite.js#dedup.claim`. */
export function procedureIn(procedure: string): string {
  const name = procedure.slice(procedure.lastIndexOf('#') + 1)
  return name.slice(name.lastIndexOf('.') + 1)
}
