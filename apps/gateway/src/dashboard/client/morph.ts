/**
 * Makes `old` like `fresh` and keeps every element that stays, so that focus, selection, open details and what somebody has typed or
 * ticked are not lost. Children with ids are matched by them.
 */
export function morph(old: Element, fresh: Element): void {
  if (old.isEqualNode(fresh)) return
  for (const { name, value } of [...fresh.attributes])
    if (!kept(old, name) && old.getAttribute(name) !== value) old.setAttribute(name, value)
  for (const { name } of [...old.attributes])
    if (!kept(old, name) && !fresh.hasAttribute(name)) old.removeAttribute(name)
  const byId = new Map<string, Element>()
  for (const child of old.children) if (child.id !== '') byId.set(child.id, child)
  let at: ChildNode | null = old.firstChild
  for (const wanted of [...fresh.childNodes]) {
    const match = counterpart(at, wanted, byId)
    if (match === undefined) {
      old.insertBefore(document.importNode(wanted, true), at)
      continue
    }
    if (match !== at) old.insertBefore(match, at)
    else at = at?.nextSibling ?? null
    if (match instanceof Element && wanted instanceof Element) morph(match, wanted)
    else if (match.nodeValue !== wanted.nodeValue) match.nodeValue = wanted.nodeValue
  }
  while (at !== null) {
    const gone: ChildNode = at
    at = at.nextSibling
    gone.remove()
  }
}

function counterpart(at: ChildNode | null, wanted: Node, byId: ReadonlyMap<string, Element>): ChildNode | undefined {
  if (wanted instanceof Element && wanted.id !== '') return byId.get(wanted.id)
  if (at === null || at.nodeType !== wanted.nodeType) return undefined
  if (!(at instanceof Element) || !(wanted instanceof Element)) return at
  return at.id === '' && at.tagName === wanted.tagName ? at : undefined
}

/** What belongs to the person at the page and not to the server. */
function kept(element: Element, attribute: string): boolean {
  return (
    (attribute === 'open' && element instanceof HTMLDetailsElement) ||
    (attribute === 'class' && element instanceof HTMLTableRowElement) ||
    (attribute === 'aria-current' && element instanceof HTMLTableRowElement)
  )
}
