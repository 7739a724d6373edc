import { type Context, Hono } from 'hono'
import type { Gateway } from './gateway.ts'
import { problem } from './problem.ts'

/** `/requests/{id}` for the principal that made the request; anyone else gets the 404 of an absent one. */
export function requestRoutes(gateway: Gateway): Hono {
  const { checkpoints } = gateway
  const app = new Hono()
  const own = async (c: Context) => {
    const run = await checkpoints.get(c.req.param('id') ?? '')
    return run?.principal === gateway.principalOf(c) ? run : undefined
  }
  const absent = (c: Context) => problem(c, 404, 'not_found', 'There is no such request')

  app.get('/:id', async (c) => {
    const run = await own(c)
    if (run === undefined) return absent(c)
    const { id, operation, status, stage, progress, reason, attempt, recoveries, createdAt, updatedAt } = run
    return c.json({
      id,
      operation,
      status,
      stage: stage ?? null,
      progress: progress ?? null,
      reason: reason ?? null,
      attempt,
      recoveries,
      created_at: new Date(createdAt).toISOString(),
      updated_at: new Date(updatedAt).toISOString(),
      steps: await checkpoints.steps(id),
    })
  })
  app.get('/:id/response', async (c) => {
    const run = await own(c)
    if (run === undefined) return absent(c)
    const response = await checkpoints.response(run.id)
    return (
      response ??
      problem(c, 404, 'not_finished', 'The request has no answer yet', {
        headers: { 'retry-after': '1' },
        members: { requestStatus: run.status },
      })
    )
  })
  app.delete('/:id', async (c) => {
    const run = await own(c)
    if (run === undefined) return absent(c)
    const actor = gateway.principalOf(c)
    try {
      const status = await checkpoints.cancel(run.id, { actor })
      await gateway.events.append('checkpoint.cancel', { run: run.id }, { actor, subject: run.id })
      return c.json({ id: run.id, status }, 202)
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'already_finished') {
        return problem(c, 409, 'already_finished', 'The request is finished', {
          members: { requestStatus: run.status },
        })
      }
      throw error
    }
  })
  return app
}
