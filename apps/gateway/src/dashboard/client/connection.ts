import { onState, onTick, type StreamState } from './stream.ts'
import { clock } from './text.ts'

const words: Readonly<Record<StreamState, string>> = {
  connecting: 'Connecting',
  live: 'Live',
  lost: 'No answer, trying again',
}

/** Says whether what the page shows is as it is now. */
export class Connection extends HTMLElement {
  connectedCallback(): void {
    const text = this.querySelector('.words')
    let wasLost = false
    onState((state) => {
      this.dataset['state'] = state
      if (text !== null) text.textContent = words[state]
      const banner = document.querySelector<HTMLElement>('#lost')
      if (banner !== null) banner.hidden = state !== 'lost'
      if (state === 'lost') wasLost = true
      if (state === 'live' && wasLost) {
        wasLost = false
        document.dispatchEvent(new Event('gw-back'))
      }
    })
    onTick(({ at }) => {
      this.title = `Live, ${clock(at)} UTC`
    })
  }
}
