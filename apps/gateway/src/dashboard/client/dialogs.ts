import { pageAt } from './page.ts'

/**
 * Opens what a link with `data-dialog` leads to in a dialog: the same form that the page behind the link has. Where it does not come,
 * the link is followed.
 */
export function followDialogs(): void {
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return
    const target = event.target instanceof Element ? event.target : null
    const link = target?.closest<HTMLAnchorElement>('a[data-dialog]')
    if (link != null) {
      event.preventDefault()
      void openDialog(link.href, () => location.assign(link.href))
    }
    if (target?.closest('dialog [data-close]') != null) {
      event.preventDefault()
      target.closest('dialog')?.close()
    }
  })
  document.addEventListener('submit', (event) => {
    const { submitter, target: form } = event
    if (!(form instanceof HTMLFormElement)) return
    if (submitter instanceof HTMLElement && submitter.dataset['dialog'] !== undefined && form.method === 'get') {
      event.preventDefault()
      const fields = new URLSearchParams(
        [...new FormData(form, submitter)].map(([name, value]) => [name, String(value)]),
      )
      // A control that is called `action` hides the form's own property.
      const action = submitter.getAttribute('formaction') ?? form.getAttribute('action') ?? ''
      const url = `${new URL(action, location.href).pathname}?${fields}`
      void openDialog(url, () => location.assign(url))
    } else if (form.method === 'post') {
      // Once is enough: what is under way is not asked for twice.
      setTimeout(() => {
        for (const button of form.querySelectorAll('button')) button.disabled = true
      })
    }
  })
}

/** Shows a page's form in a dialog. */
async function openDialog(url: string, otherwise: () => void): Promise<void> {
  const page = await pageAt(url)
  const form = page instanceof Document ? page.querySelector('[data-confirm]') : null
  if (form === null) return otherwise()
  const from = document.activeElement
  const dialog = document.createElement('dialog')
  dialog.append(document.importNode(form, true))
  const heading = dialog.querySelector('h1, h2')
  if (heading !== null) {
    heading.id = 'dialog-heading'
    dialog.setAttribute('aria-labelledby', heading.id)
  }
  dialog.addEventListener('close', () => {
    dialog.remove()
    if (from instanceof HTMLElement) from.focus()
  })
  document.body.append(dialog)
  dialog.showModal()
}
