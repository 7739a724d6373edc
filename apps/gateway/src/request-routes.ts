import { runRoutes } from '@gw/checkpoint'
import type { Hono } from 'hono'
import type { Gateway } from './gateway.ts'

/** `/requests/{id}` for the principal that made the request; what it does to a run is an audit event before it is answered. */
export function requestRoutes(gateway: Gateway): Hono {
  return runRoutes({
    checkpoints: gateway.checkpoints,
    principal: (c) => gateway.principalOf(c),
    async onAction({ type, run, actor }) {
      await gateway.events.append(`checkpoint.${type}`, { run }, { actor, subject: run })
    },
  })
}
