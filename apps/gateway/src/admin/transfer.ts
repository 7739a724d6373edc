import { createRoute, z } from '@hono/zod-openapi'
import type { Gateway } from '../gateway.ts'
import { audited } from './audited.ts'
import { AdminProblem, adminRoutes, answer, refusals } from './problems.ts'
import { RequestBundle as Bundle, type RequestBundle, readStored, storedOf } from './request-bundle.ts'
import { RequestId } from './request-shapes.ts'

const exportRoute = createRoute({
  method: 'get',
  path: '/admin/requests/{id}/export',
  operationId: 'exportRequest',
  summary: 'Gives a request whole, as JSON, payloads and all; needs the role `operate`',
  tags: ['requests'],
  request: { params: RequestId },
  responses: { 200: answer(Bundle, 'The request'), ...refusals },
})

const Result = z.object({ request: z.string(), result: z.enum(['imported', 'present']) })

const importRoute = createRoute({
  method: 'post',
  path: '/admin/requests/import',
  operationId: 'importRequests',
  summary: 'Takes in requests that were exported, here or elsewhere; one that is there already stays as it is',
  tags: ['requests'],
  request: {
    body: {
      required: true,
      content: { 'application/json': { schema: z.strictObject({ requests: z.array(Bundle).min(1).max(100) }) } },
    },
  },
  responses: {
    200: answer(z.object({ imported: z.int(), present: z.int(), results: z.array(Result) }), 'What became of each'),
    ...refusals,
  },
})

/** Export and import of requests. */
export function transferRoutes(gateway: Gateway) {
  const { store } = gateway.checkpoints
  return adminRoutes()
    .openapi(exportRoute, async (c) => {
      if (c.var.role !== 'operate')
        throw new AdminProblem(403, 'read_only', 'An export shows payloads as they are: this token may not have them')
      const { id } = c.req.valid('param')
      const bundle = await readStored(store, id)
      if (bundle === undefined)
        throw new AdminProblem(404, 'not_found', 'There is no such request, or its payloads are gone')
      await audited(c, gateway, { type: 'admin.request.export', subject: id, data: { run: id } }, () => {})
      return c.json(bundle, 200)
    })
    .openapi(importRoute, async (c) => {
      const { requests } = c.req.valid('json')
      const results: z.infer<typeof Result>[] = []
      for (const bundle of requests) {
        const { id } = bundle.record
        const intent = { type: 'admin.request.import', subject: id, data: { run: id, status: bundle.record.status } }
        results.push({ request: id, result: await audited(c, gateway, intent, () => install(bundle)) })
      }
      await gateway.checkpoints.sweep()
      const imported = results.filter(({ result }) => result === 'imported').length
      return c.json({ imported, present: results.length - imported, results }, 200)
    })

  async function install(bundle: RequestBundle): Promise<'imported' | 'present'> {
    const { record, input, past } = storedOf(bundle)
    const unit = store.unit()
    unit.add(store.accept(record, input, past))
    try {
      await unit.commit()
      return 'imported'
    } catch (error) {
      const refused = error instanceof Error && 'code' in error && error.code === 'refused'
      if (
        refused &&
        'reason' in error &&
        (error.reason === 'exists' || Reflect.get(Object(error.reason), 'reason') === 'exists')
      )
        return 'present'
      throw error
    }
  }
}
