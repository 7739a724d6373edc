/** Moves through tables and to the search by keys, where nobody is writing. */
export function followKeys(): void {
  document.addEventListener('keydown', (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey || event.defaultPrevented) return
    const { key } = event
    const at = event.target
    if (at instanceof HTMLElement && at.matches('input, select, textarea, dialog *')) {
      if (key === 'Escape' && at.matches('input, select, textarea') && at.closest('dialog') === null) at.blur()
      return
    }
    if (document.querySelector('dialog[open]') !== null) return
    const act = actions[key]
    if (act !== undefined && act(event) !== false) event.preventDefault()
  })
}

const actions: Readonly<Record<string, (event: KeyboardEvent) => unknown>> = {
  '/': () => {
    const search = document.querySelector<HTMLInputElement>('[data-search]')
    if (search === null) return location.assign('/requests?focus=search')
    search.closest('details')?.setAttribute('open', '')
    search.focus()
    search.select()
  },
  j: () => step(1),
  k: () => step(-1),
  Enter: ({ target }) => {
    if (target instanceof HTMLElement && target.matches('a, button, summary')) return false
    const link = document.querySelector<HTMLAnchorElement>('tr.cursor a')
    if (link === null) return false
    link.click()
  },
  x: () => {
    const box = document.querySelector<HTMLInputElement>('tr.cursor input[type="checkbox"]')
    box?.click()
  },
  Escape: () => {
    const row = document.querySelector('tr.cursor')
    if (row === null) return false
    row.classList.remove('cursor')
  },
  '?': () => help(),
}

function step(by: number): void {
  const rows = [...document.querySelectorAll<HTMLTableRowElement>('main table.rows tbody tr')]
  if (rows.length === 0) return
  const now = rows.findIndex((row) => row.classList.contains('cursor'))
  const next = rows[Math.min(rows.length - 1, Math.max(0, now < 0 ? (by > 0 ? 0 : rows.length - 1) : now + by))]!
  rows[now]?.classList.remove('cursor')
  next.classList.add('cursor')
  next.scrollIntoView({ block: 'nearest' })
  next.querySelector('a')?.focus({ preventScroll: true })
}

const keys: readonly (readonly [key: string, what: string])[] = [
  ['/', 'Search'],
  ['j', 'Next row'],
  ['k', 'Row before'],
  ['Enter', 'Open the row'],
  ['x', 'Tick the row'],
  ['Escape', 'Leave what is open'],
  ['?', 'This help'],
]

function help(): void {
  const dialog = document.createElement('dialog')
  dialog.setAttribute('aria-labelledby', 'keys-heading')
  const heading = document.createElement('h2')
  heading.id = 'keys-heading'
  heading.textContent = 'Keys'
  const list = document.createElement('dl')
  list.className = 'shortcuts'
  for (const [key, what] of keys) {
    const term = document.createElement('dt')
    const cap = document.createElement('kbd')
    cap.textContent = key
    term.append(cap)
    const meaning = document.createElement('dd')
    meaning.textContent = what
    list.append(term, meaning)
  }
  const close = document.createElement('button')
  close.type = 'button'
  close.className = 'close'
  close.dataset['close'] = ''
  close.textContent = 'Close'
  dialog.append(close, heading, list)
  const from = document.activeElement
  dialog.addEventListener('close', () => {
    dialog.remove()
    if (from instanceof HTMLElement) from.focus()
  })
  document.body.append(dialog)
  dialog.showModal()
}

if (new URLSearchParams(location.search).get('focus') === 'search')
  document.querySelector<HTMLInputElement>('[data-search]')?.focus()
