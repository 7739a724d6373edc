/** Keeps the bar of bulk actions true to what is ticked, and the box over the column to the boxes in it. */
export function followSelection(): void {
  const form = document.querySelector<HTMLFormElement>('form[data-selection]')
  if (form === null) return
  const boxes = () => [...form.querySelectorAll<HTMLInputElement>('input[name="id"]')]
  const all = form.querySelector<HTMLInputElement>('input[data-all]')
  const show = () => {
    const ticked = boxes().filter(({ checked }) => checked).length
    const text = form.querySelector('[data-ticked]')
    if (text !== null)
      text.textContent = ticked === 0 ? (text.getAttribute('data-none') ?? '') : `${ticked} ticked on this page`
    if (all !== null) {
      all.checked = ticked > 0 && ticked === boxes().length
      all.indeterminate = ticked > 0 && ticked < boxes().length
    }
  }
  if (all !== null) {
    all.hidden = false
    all.addEventListener('change', () => {
      for (const box of boxes()) box.checked = all.checked
      show()
    })
  }
  form.addEventListener('change', show)
  document.addEventListener('gw-fresh', show)
  show()
}
