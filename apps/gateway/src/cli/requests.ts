import { askAdmin } from './admin-client.ts'
import { table } from './table.ts'

interface Listed {
  readonly id: string
  readonly operation: string
  readonly status: string
  readonly stage?: string
  readonly progress?: number
  readonly createdAt: number
  readonly reason?: string
}

interface Step {
  readonly name: string
  readonly occurrence: number
  readonly state: string
  readonly keptAt: number
  readonly startedAt: number
}

/** `gw requests ls` */
export async function listRequests(flags: {
  readonly status?: string
  readonly operation?: string
  readonly limit: string
  readonly json?: boolean
}): Promise<void> {
  const query = new URLSearchParams({ limit: flags.limit })
  if (flags.status !== undefined) query.set('status', flags.status)
  if (flags.operation !== undefined) query.set('operation', flags.operation)
  const answer = await askAdmin<{ readonly requests: readonly Listed[] }>(`/admin/requests?${query}`)
  if (flags.json === true) return console.log(JSON.stringify(answer))
  console.log(table(['id', 'operation', 'status', 'progress', 'accepted'], answer.requests.map(rowOf)))
}

function rowOf({ id, operation, status, progress, createdAt }: Listed): string[] {
  return [
    id,
    operation,
    status,
    progress === undefined ? '' : `${Math.round(progress * 100)} %`,
    new Date(createdAt).toISOString(),
  ]
}

/** `gw requests show` */
export async function showRequest(id: string, flags: { readonly json?: boolean }): Promise<void> {
  const answer = await askAdmin<{ readonly request: Listed; readonly steps: readonly Step[] }>(
    `/admin/requests/${encodeURIComponent(id)}`,
  )
  if (flags.json === true) return console.log(JSON.stringify(answer))
  const { request, steps } = answer
  console.log(table(['id', 'operation', 'status', 'progress', 'accepted'], [rowOf(request)]))
  if (request.reason !== undefined) console.log(`\nWhy: ${request.reason}`)
  console.log(
    `\n${table(
      ['step', 'state', 'took', 'kept'],
      steps.map((step) => [
        `${step.name}#${step.occurrence}`,
        step.state,
        `${step.keptAt - step.startedAt} ms`,
        new Date(step.keptAt).toISOString(),
      ]),
    )}`,
  )
}
