/** @jsxImportSource hono/jsx */
import { Hono } from 'hono'
import type { AdminEnv } from '../../admin/visitor.ts'
import { filtersOf, withFilters } from '../filters.ts'
import { clientOf, type PageContext, type PageServices, Refusal, read } from '../page-context.ts'
import { Confirm } from '../view/confirm.tsx'
import { count } from '../view/format.ts'
import { show } from '../view/shell.tsx'
import { RunBadge } from '../view/status.tsx'
import { type RequestFilters, requestFilters } from './requests.tsx'

const actions = ['cancel', 'retry', 'resume'] as const
type Action = (typeof actions)[number]

const words: Readonly<Record<Action, { readonly does: string; readonly effect: string; readonly to: string }>> = {
  cancel: {
    does: 'Cancel',
    effect:
      'Each ends: running ones at their next step, others at once. Kept effects whose steps say how are taken back.',
    to: 'not finished',
  },
  retry: {
    does: 'Retry',
    effect: 'Each goes on now from its last kept step.',
    to: 'failed, dead, cancelled, parked or waiting',
  },
  resume: {
    does: 'Resume',
    effect: 'Each goes on now from its last kept step.',
    to: 'failed, dead, cancelled, parked or waiting',
  },
}
const limit = 1_000

/** `/requests/bulk`: one action on what is ticked, or on all that a filter shows. Looks first and counts, then asks. */
export function bulkRoutes(services: PageServices): Hono<AdminEnv> {
  const app = new Hono<AdminEnv>()

  app.get('/requests/bulk', async (c) => {
    const action = actionOf(c.req.query('action'))
    const filters: RequestFilters = filtersOf(c.req.url, requestFilters)
    const ids = c.req.queries('id') ?? []
    const found = ids.length > 0 ? await ticked(services, c, ids, action) : await counted(services, c, filters, action)
    return show(
      services,
      c,
      { title: `${words[action].does} requests`, path: '/requests/bulk' },
      <AskBulk action={action} filters={filters} ids={ids} found={found} />,
    )
  })

  app.post('/requests/bulk', async (c) => {
    const form = await c.req.formData()
    const action = actionOf(form.get('action'))
    const ids = form.getAll('id').map(String)
    const back = String(form.get('back') ?? '/requests')
    const came = ids.length > 0 ? await actOn(services, c, ids, action) : await actOnFilter(services, c, form, action)
    const { pathname, searchParams } = new URL(back, 'http://here')
    if (pathname !== '/requests') throw new Refusal(400, 'invalid_body', 'Expected `back` to be the list')
    for (const [name, value] of Object.entries(came)) searchParams.set(name, String(value))
    return c.redirect(`/requests?${searchParams}`, 303)
  })
  return app
}

interface Found {
  readonly count: number
  readonly exact: boolean
  readonly left: number
  readonly confirmation: string | null
  readonly sample: readonly { readonly id: string; readonly operation: string; readonly status: string }[]
}

/** Counts what a filter shows and the action applies to. Nothing is changed. */
async function counted(services: PageServices, c: PageContext, filter: RequestFilters, action: Action): Promise<Found> {
  const answer = await read(
    clientOf(services, c).admin.requests.bulk.$post({ json: { filter, action, dryRun: true, limit } }),
  )
  const { count, exact, sample, confirmation } = answer
  return { count, exact, sample, confirmation, left: 0 }
}

async function ticked(
  { gateway }: PageServices,
  _c: PageContext,
  ids: readonly string[],
  action: Action,
): Promise<Found> {
  const runs = await Promise.all(ids.slice(0, limit).map((id) => gateway.checkpoints.get(id)))
  const fit = runs.filter((run) => run !== undefined && applies(action, run.status)).map((run) => run!)
  return { count: fit.length, exact: true, sample: fit, confirmation: null, left: ids.length - fit.length }
}

function applies(action: Action, status: string): boolean {
  return action === 'cancel'
    ? ['queued', 'running', 'waiting', 'parked'].includes(status)
    : ['waiting', 'parked', 'failed', 'dead', 'cancelled'].includes(status)
}

async function actOnFilter(services: PageServices, c: PageContext, form: FormData, action: Action) {
  const filter = JSON.parse(String(form.get('filter') ?? '{}')) as RequestFilters
  const confirmation = String(form.get('confirmation') ?? '')
  const { done, failed, remaining } = await read(
    clientOf(services, c).admin.requests.bulk.$post({ json: { filter, action, confirmation, limit } }),
  )
  return { done: action, n: done, failed, left: remaining }
}

async function actOn(services: PageServices, c: PageContext, ids: readonly string[], action: Action) {
  const at = clientOf(services, c).admin.requests[':id'][':action']
  const results = await Promise.allSettled(ids.slice(0, limit).map((id) => read(at.$post({ param: { id, action } }))))
  const failed = results.filter(({ status }) => status === 'rejected').length
  return { done: action, n: results.length - failed, failed, left: Math.max(0, ids.length - limit) }
}

function actionOf(text: unknown): Action {
  const action = actions.find((each) => each === text)
  if (action !== undefined) return action
  throw new Refusal(
    400,
    'invalid_parameter',
    `Expected \`action\` to be one of ${actions.join(', ')}, got \`${String(text)}\``,
  )
}

function AskBulk({
  action,
  filters,
  ids,
  found,
}: {
  readonly action: Action
  readonly filters: RequestFilters
  readonly ids: readonly string[]
  readonly found: Found
}) {
  const { does, effect, to } = words[action]
  const back = withFilters('/requests', filters)
  const many = `${found.exact ? '' : 'more than '}${count(found.count)} ${found.count === 1 ? 'request' : 'requests'}`
  return (
    <Confirm
      title={found.count === 0 ? `Nothing to ${does.toLowerCase()}` : `${does} ${many}?`}
      action="/requests/bulk"
      submit={`${does} ${many}`}
      back={back}
      danger={action === 'cancel'}
      possible={found.count > 0}
      effect={
        <>
          <p>
            {ids.length > 0 ? `${count(ids.length)} are ticked.` : filterText(filters)} {many}{' '}
            {found.count === 1 ? 'is' : 'are'} {to}
            {found.left > 0 ? `; ${count(found.left)} of the ticked are not, and stay as they are` : ''}.
          </p>
          {found.count === 0 ? (
            <p class="muted">{`This action is for requests that are ${to}.`}</p>
          ) : (
            <>
              <p>{effect}</p>
              {found.count > limit ? (
                <p>{`The newest ${count(limit)} are done in one go; the rest are left for the next.`}</p>
              ) : (
                ''
              )}
              <ul>
                {found.sample.slice(0, 5).map(({ id, operation, status }) => (
                  <li>
                    {operation} <span class="id">{id}</span> <RunBadge status={status} />
                  </li>
                ))}
                {found.count > 5 ? (
                  <li class="muted">{`and ${count(found.count - Math.min(5, found.sample.length))} more`}</li>
                ) : (
                  ''
                )}
              </ul>
            </>
          )}
        </>
      }
      fields={
        <>
          <input type="hidden" name="action" value={action} />
          <input type="hidden" name="back" value={back} />
          {ids.length > 0 ? (
            ids.map((id) => <input type="hidden" name="id" value={id} />)
          ) : (
            <>
              <input type="hidden" name="filter" value={JSON.stringify(filters)} />
              <input type="hidden" name="confirmation" value={found.confirmation ?? ''} />
            </>
          )}
        </>
      }
    />
  )
}

function filterText(filters: RequestFilters): string {
  const parts = Object.entries(filters).map(([name, value]) => `${name.replace('_', ' ')} ${value}`)
  return parts.length === 0 ? 'No filter is set: this is about all requests.' : `The filter is ${parts.join(', ')}.`
}
