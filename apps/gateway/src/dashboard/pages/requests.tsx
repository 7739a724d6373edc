/** @jsxImportSource hono/jsx */
import { Hono } from 'hono'
import type { z } from 'zod'
import type { RequestShape } from '../../admin/request-shapes.ts'
import type { AdminEnv } from '../../admin/visitor.ts'
import { fieldTime, filtersOf, withFilters } from '../filters.ts'
import { clientOf, type PageServices, read } from '../page-context.ts'
import { ChoiceFilter, TextFilter } from '../view/filter-field.tsx'
import { FilterForm } from '../view/filter-form.tsx'
import { count } from '../view/format.ts'
import { Empty, PageHead } from '../view/layout.tsx'
import { show } from '../view/shell.tsx'
import { RunBadge, statuses } from '../view/status.tsx'
import { When } from '../view/when.tsx'

/** A request as the admin API gives it. */
export type Listed = z.infer<typeof RequestShape>

/** The filters of the list, by the names that the admin API has for them. */
export const requestFilters = ['status', 'operation', 'principal', 'request_id', 'stage', 'from', 'to', 'text'] as const

export type RequestFilters = Readonly<Partial<Record<(typeof requestFilters)[number], string>>>

const pageSize = '50'
const rare = ['request_id', 'stage', 'from', 'to'] as const

/** `/requests`: durable requests, newest first. */
export function requestListRoutes(services: PageServices): Hono<AdminEnv> {
  const app = new Hono<AdminEnv>()
  app.get('/requests', async (c) => {
    const filters: RequestFilters = filtersOf(c.req.url, requestFilters)
    const { cursor, done, n } = c.req.query()
    const page = await read(
      clientOf(services, c).admin.requests.$get({
        query: { ...filters, limit: pageSize, ...(cursor === undefined ? {} : { cursor }) },
      }),
    )
    return show(
      services,
      c,
      { title: 'Requests', path: '/requests', done: bulkDone(done, n, c.req.query('failed'), c.req.query('left')) },
      <Requests
        filters={filters}
        requests={page.requests}
        counts={page.counts}
        cursor={cursor}
        next={page.cursor}
        operations={services.gateway.checkpoints.operations}
        mayAct={c.var.role === 'operate'}
      />,
    )
  })
  return app
}

function bulkDone(done: string | undefined, n = '0', failed = '0', left = '0') {
  const words: Readonly<Record<string, string>> = {
    cancel: 'asked to end',
    retry: 'queued to go on',
    resume: 'queued to go on',
  }
  if (done === undefined || words[done] === undefined) return undefined
  const number = (text: string) => count(Number(text) || 0)
  const refused = Number(failed) > 0 ? ` ${number(failed)} had changed meanwhile and were left as they are.` : ''
  const more = Number(left) > 0 ? ` ${number(left)} are left for another go.` : ''
  return {
    tone: Number(failed) > 0 ? ('wait' as const) : ('good' as const),
    text: `${number(n)} ${n === '1' ? 'request was' : 'requests were'} ${words[done]}.${refused}${more}`,
  }
}

function Requests({
  filters,
  requests,
  counts,
  cursor,
  next,
  operations,
  mayAct,
}: {
  readonly filters: RequestFilters
  readonly requests: readonly Listed[]
  readonly counts: Readonly<Record<string, number>>
  readonly cursor: string | undefined
  readonly next: string | null
  readonly operations: readonly string[]
  readonly mayAct: boolean
}) {
  const filtered = Object.keys(filters).length > 0
  const all = Object.values(counts).reduce((sum, each) => sum + each, 0)
  return (
    <>
      <PageHead title="Requests" lead={`${count(all)} durable requests are kept; newest first`} />
      <gw-live class="page-table card" topics="runs" held={cursor === undefined ? undefined : ''}>
        <FilterForm
          label="Requests"
          action="/requests"
          filtered={filtered}
          rareInUse={rare.some((name) => filters[name] !== undefined)}
          rare={
            <>
              <TextFilter name="stage" label="Stage" value={filters.stage} />
              <TextFilter name="request_id" label="X-Request-ID" value={filters.request_id} />
              <TextFilter
                name="from"
                label="Accepted from (UTC)"
                type="datetime-local"
                value={fieldTime(filters.from)}
              />
              <TextFilter name="to" label="Accepted before (UTC)" type="datetime-local" value={fieldTime(filters.to)} />
            </>
          }
        >
          <TextFilter
            name="text"
            label="Search"
            type="search"
            value={filters.text}
            placeholder="id, operation, principal, reason"
            search
            grow
          />
          <ChoiceFilter
            name="status"
            label="Status"
            value={filters.status}
            choices={[
              ['', 'any'],
              ['queued,running,waiting,parked', 'not finished'],
              ['parked,failed,dead', 'needs a look'],
              ...statuses.map((status) => [status, `${status} (${count(counts[status] ?? 0)})`] as const),
            ]}
          />
          <TextFilter name="operation" label="Operation" value={filters.operation} list={operations} />
          <TextFilter name="principal" label="Principal" value={filters.principal} />
        </FilterForm>
        <form method="get" action="/requests/bulk" data-selection="">
          {Object.entries(filters).map(([name, value]) => (
            <input type="hidden" name={name} value={value} />
          ))}
          <div class="bulk">
            {mayAct ? (
              <>
                <span
                  class="small"
                  data-ticked=""
                  data-none={filtered ? 'All that the filter shows' : 'All requests'}
                  role="status"
                >
                  {filtered ? 'What is ticked, else all that the filter shows' : 'What is ticked, else all requests'}
                </span>
                {(
                  [
                    ['cancel', 'Cancel…'],
                    ['retry', 'Retry now…'],
                    ['resume', 'Resume…'],
                  ] as const
                ).map(([action, text]) => (
                  <button type="submit" name="action" value={action} data-dialog="">
                    {text}
                  </button>
                ))}
              </>
            ) : (
              ''
            )}
            <span class="live">
              <span class="small muted" data-live-state="" role="status">
                {cursor === undefined ? '' : 'An older page: it stands still'}
              </span>
              <button type="button" data-pause="" aria-pressed="false" hidden>
                Pause
              </button>
            </span>
          </div>
          <div id="request-rows">
            {requests.length === 0 ? (
              <Nothing filtered={filtered} older={next} filters={filters} />
            ) : (
              <table class="grid cards rows">
                <caption class="visually-hidden">Durable requests, newest first</caption>
                <thead>
                  <tr>
                    {mayAct ? (
                      <th scope="col" class="tight">
                        <input type="checkbox" data-all="" aria-label="Tick all on this page" hidden />
                      </th>
                    ) : (
                      ''
                    )}
                    <th scope="col">Request</th>
                    <th scope="col">Operation</th>
                    <th scope="col">Status</th>
                    <th scope="col">Principal</th>
                    <th scope="col">Stage or reason</th>
                    <th scope="col">Accepted</th>
                    <th scope="col">Changed</th>
                  </tr>
                </thead>
                <tbody>
                  {requests.map((request) => (
                    <Row request={request} mayAct={mayAct} />
                  ))}
                </tbody>
              </table>
            )}
            <div class="pager">
              <span class="muted small">{requests.length === 0 ? '' : `${requests.length} on this page`}</span>
              <span class="spacer" />
              {cursor === undefined ? '' : <a href={withFilters('/requests', filters)}>Newest</a>}
              {next === null ? '' : <a href={withFilters('/requests', { ...filters, cursor: next })}>Older</a>}
            </div>
          </div>
        </form>
      </gw-live>
    </>
  )
}

function Row({ request, mayAct }: { readonly request: Listed; readonly mayAct: boolean }) {
  const { id, operation, status, principal, stage, progress, reason, createdAt, updatedAt, attempt, recoveries } =
    request
  const again = [
    ...(attempt > 1 ? [`attempt ${attempt}`] : []),
    ...(recoveries > 0 ? [`recovered ${recoveries === 1 ? 'once' : `${recoveries} times`}`] : []),
  ].join(', ')
  const said =
    reason ?? (stage === null ? null : `${stage}${progress === null ? '' : `, ${Math.round(progress * 100)} %`}`)
  return (
    <tr id={`row-${id}`}>
      {mayAct ? (
        <td class="tight select-cell">
          <input type="checkbox" name="id" value={id} aria-label={`Tick ${id}`} />
        </td>
      ) : (
        ''
      )}
      <th scope="row" class="lead-cell">
        <a class="id" href={`/requests/${id}`}>
          {id}
        </a>
      </th>
      <td data-label="Operation">{operation}</td>
      <td data-label="Status" class="tight">
        <RunBadge status={status} />
      </td>
      <td data-label="Principal" class="wrap">
        {principal ?? <span class="muted">anonymous</span>}
      </td>
      <td data-label="Stage or reason" class="reason">
        {said === null && again === '' ? '' : <span class="clip">{[said, again].filter(Boolean).join('; ')}</span>}
      </td>
      <td data-label="Accepted" class="tight">
        <When at={createdAt} />
      </td>
      <td data-label="Changed" class="tight">
        <When at={updatedAt} short />
      </td>
    </tr>
  )
}

function Nothing({
  filtered,
  older,
  filters,
}: {
  readonly filtered: boolean
  readonly older: string | null
  readonly filters: RequestFilters
}) {
  if (older !== null)
    return (
      <Empty title="Nothing among the newest 10,000">
        <a href={withFilters('/requests', { ...filters, cursor: older })}>Search on in older ones</a>
      </Empty>
    )
  if (filtered)
    return (
      <Empty title="No request is like that">
        Take a filter away, or <a href="/requests">look at all of them</a>.
      </Empty>
    )
  return (
    <Empty title="No durable request yet">
      They come from routes with <code>gateway.durable(…)</code>. On the reference gateway, try
      <pre>
        curl -i http://127.0.0.1:8000/api/payment -H 'Idempotency-Key: order-1' -H 'Content-Type: application/json' -d '
        {'{"amount":25,"currency":"EUR","payment_method":"card","customer_id":"ann"}'}'
      </pre>
    </Empty>
  )
}
