/** A timeline of steps: a line under the pointer, and the moment that it stands for. */
export class Timeline extends HTMLElement {
  connectedCallback(): void {
    const from = Number(this.dataset['from'])
    const to = Number(this.dataset['to'])
    const readout = this.querySelector<HTMLElement>('[data-moment]')
    if (readout === null || !(to > from)) return
    const still = readout.textContent
    this.addEventListener('pointermove', (event) => {
      const lane = event.target instanceof Element ? event.target.closest('.lane svg') : null
      if (lane === null) {
        readout.textContent = still
        return
      }
      const { left, width } = lane.getBoundingClientRect()
      const after = ((event.clientX - left) / width) * (to - from)
      readout.textContent = `${Math.round(Math.max(0, after))} ms after the request was accepted`
    })
    this.addEventListener('pointerleave', () => {
      readout.textContent = still
    })
  }
}
