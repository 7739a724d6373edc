/** Buttons with `data-copy` copy the text of the element they name; without a clipboard they select it. */
export function followCopies(): void {
  document.addEventListener('click', (event) => {
    const button = event.target instanceof Element ? event.target.closest<HTMLElement>('button[data-copy]') : null
    if (button === null) return
    const source = document.getElementById(button.dataset['copy'] ?? '')
    if (source === null) return
    void copy(source).then((done) => {
      const before = button.textContent
      button.textContent = done ? 'Copied' : 'Selected: copy it'
      setTimeout(() => {
        button.textContent = before
      }, 2_000)
    })
  })
}

async function copy(source: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(source.textContent ?? '')
    return true
  } catch {
    getSelection()?.selectAllChildren(source)
    return false
  }
}
