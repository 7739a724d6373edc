import { z } from 'zod'
import type { Gateway } from '../gateway.ts'
import { checkedJson } from './input.ts'
import type { ReferenceTables } from './tables.ts'

const operation = z.object({ type: z.string().regex(/^[A-Za-z][A-Za-z0-9_.-]{0,99}$/), fail: z.boolean().optional() })

/**
 * `POST /api/sensitive-operation` leaves the guide's four audit events, each durable before the next thing happens. The
 * parameters themselves and stack traces stay out of the trail. `"fail": true` makes the operation fail, to see that event.
 */
export function sensitiveRoutes(gateway: Gateway, tables: ReferenceTables): void {
  gateway.post('/api/sensitive-operation', checkedJson(operation), async (c) => {
    const body = await c.req.json<z.infer<typeof operation>>()
    const { events } = gateway
    const actor = gateway.principalOf(c)
    const about = { actor, requestId: c.var.requestId }
    const began = performance.now()

    await events.append(
      'request_received',
      {
        endpoint: '/api/sensitive-operation',
        user_id: actor,
        user_agent: c.req.header('user-agent') ?? null,
        request_size: (await c.req.arrayBuffer()).byteLength,
      },
      about,
    )
    await events.append(
      'operation_started',
      { operation_type: body.type, parameter_names: Object.keys(body), user_id: actor },
      about,
    )
    try {
      if (body.fail === true) throw new Error('The operation was asked to fail')
      await tables.insert('operations', {
        id: crypto.randomUUID(),
        type: body.type,
        principal: actor,
        performed_at: new Date().toISOString(),
      })
      const performed = await tables.count('operations', { type: body.type })
      await events.append(
        'operation_completed',
        {
          operation_type: body.type,
          result_summary: { performed },
          user_id: actor,
          execution_time_ms: Math.round(performance.now() - began),
        },
        about,
      )
      return c.json({ success: true, result: { type: body.type, performed } })
    } catch (error) {
      await events.append(
        'operation_failed',
        {
          operation_type: body.type,
          error: error instanceof Error ? error.message : 'unknown',
          error_type: error instanceof Error ? error.name : typeof error,
          user_id: actor,
        },
        about,
      )
      throw error
    }
  })
}
