import { Connection } from './connection.ts'
import { followCopies } from './copy.ts'
import { followDialogs } from './dialogs.ts'
import { LiveFigure, showCounts } from './figure.ts'
import { followKeys } from './keyboard.ts'
import { LiveRegion } from './live-region.ts'
import { LivePlot } from './plot.ts'
import { followSelection } from './selection.ts'
import { followSparks } from './sparks.ts'
import { onTick } from './stream.ts'
import { Timeline } from './timeline.ts'
import { followTimes } from './times.ts'

customElements.define('gw-connection', Connection)
customElements.define('gw-figure', LiveFigure)
customElements.define('gw-live', LiveRegion)
customElements.define('gw-plot', LivePlot)
customElements.define('gw-timeline', Timeline)
followSparks()
if (document.querySelector('[data-count]') !== null) onTick(showCounts)
followTimes()
followDialogs()
followSelection()
followCopies()
followKeys()
