/** @jsxImportSource hono/jsx */
import { Hono } from 'hono'
import type { AdminClient } from '../../admin/client.ts'
import type { AdminEnv } from '../../admin/visitor.ts'
import { clientOf, type PageServices, read } from '../page-context.ts'
import { period } from '../view/format.ts'
import { Card, Empty } from '../view/layout.tsx'
import { PayloadView } from '../view/payload.tsx'
import { show } from '../view/shell.tsx'
import { Badge, Note, RunBadge, type Tone } from '../view/status.tsx'
import { When } from '../view/when.tsx'
import { curlOf } from './curl.ts'
import { EventList } from './events-view.tsx'
import { actionsFor, doneTexts } from './request-actions.tsx'
import { Timeline } from './timeline.tsx'

type Answer<Call extends (...args: never[]) => unknown> = Awaited<ReturnType<Call>>
const detailOf = (client: AdminClient, id: string) => read(client.admin.requests[':id'].$get({ param: { id } }))
const payloadsOf = (client: AdminClient, id: string) =>
  read(client.admin.requests[':id'].payloads.$get({ param: { id } }))

/** A request whole, as the admin API gives it. */
export type Detail = Answer<typeof detailOf>
export type Payloads = Answer<typeof payloadsOf>

/** `/requests/{id}`: one request. */
export function requestPageRoutes(services: PageServices): Hono<AdminEnv> {
  const app = new Hono<AdminEnv>()
  app.get('/requests/:id', async (c) => {
    const id = c.req.param('id')
    const client = clientOf(services, c)
    const [detail, payloads] = await Promise.all([detailOf(client, id), payloadsOf(client, id)])
    const done = doneTexts[c.req.query('done') ?? '']
    return show(
      services,
      c,
      {
        title: `${detail.request.operation} ${id}`,
        path: `/requests/${id}`,
        done: done === undefined ? undefined : { tone: 'good', text: done },
      },
      <RequestPage detail={detail} payloads={payloads} mayAct={c.var.role === 'operate'} />,
    )
  })
  return app
}

const tones: Readonly<Record<string, Tone>> = {
  completed: 'good',
  failed: 'bad',
  dead: 'bad',
  parked: 'wait',
  waiting: 'wait',
  running: 'busy',
}

function RequestPage({
  detail,
  payloads,
  mayAct,
}: {
  readonly detail: Detail
  readonly payloads: Payloads
  readonly mayAct: boolean
}) {
  const { request, why, key, traceId, events, outcome } = detail
  const { id, status } = request
  return (
    <gw-live class="stack" topics="runs">
      <div id="request-head">
        <p class="crumb">
          <a href="/requests">Requests</a> /{' '}
          <a href={`/requests?operation=${encodeURIComponent(request.operation)}`}>{request.operation}</a>
        </p>
        <div class="page-head">
          <div>
            <h1 class="request-title">
              <span class="id">{id}</span> <RunBadge status={status} />
            </h1>
          </div>
          {mayAct ? (
            <div class="toolbar">
              {actionsFor(status).map(({ name, text }) => (
                <a class="button" href={`/requests/${id}/${name}`} data-dialog="">
                  {text}
                </a>
              ))}
              <a class="button" href={`/admin/requests/${id}/export`} download={`request-${id}.json`}>
                Export
              </a>
            </div>
          ) : (
            ''
          )}
        </div>
        <div role="status">
          <Note tone={tones[status] ?? 'calm'}>{why.text}</Note>
        </div>
      </div>
      <Card title="Timeline" flush id="timeline" aside={<Span request={request} />}>
        <Timeline detail={detail} payloads={payloads} />
      </Card>
      <div class="wide-left">
        <div class="stack">
          <Card title="Request" id="input">
            {payloads.input === null ? (
              <p class="muted">Its payload is gone: it was erased, or moved away.</p>
            ) : (
              <>
                <p class="mono wrap">
                  <strong>{request.method}</strong> {payloads.input.url}
                </p>
                <HeadersView headers={payloads.input.headers} />
                <PayloadView payload={payloads.input.body} name="Body" />
                <details>
                  <summary>As a curl command</summary>
                  <pre class="payload" id="curl">
                    {curlOf(request.method, payloads.input)}
                  </pre>
                  <p class="toolbar">
                    <button type="button" data-copy="curl">
                      Copy
                    </button>
                    <span class="muted small">What is redacted has to be put in again.</span>
                  </p>
                </details>
              </>
            )}
          </Card>
          <Card title="Answer" id="outcome" aside={outcome === null ? '' : <HttpStatus status={outcome.status} />}>
            {payloads.outcome === null ? (
              <p class="muted">There is none yet: it comes when the request is finished.</p>
            ) : (
              <>
                <HeadersView headers={payloads.outcome.headers} />
                {outcome?.retained === false ? (
                  <p class="muted">Its body was a stream, or too long to be kept.</p>
                ) : (
                  <PayloadView payload={payloads.outcome.body} name="Body" />
                )}
              </>
            )}
          </Card>
          <Card title="What happened to it" flush id="moments">
            <Moments timeline={detail.timeline} />
          </Card>
          {payloads.data.kind === 'empty' || payloads.data.bytes === 0 ? (
            ''
          ) : (
            <Card title="Data that it keeps" id="data">
              <PayloadView payload={payloads.data} name="Data" />
            </Card>
          )}
        </div>
        <div class="stack">
          <Card title="Facts" id="facts">
            <Facts detail={detail} />
          </Card>
          <Card title="Idempotency key" id="key">
            {key === null ? (
              <p class="muted">It came without one: sent again, it runs again.</p>
            ) : (
              <dl class="facts">
                <dt>Stored as</dt>
                <dd>
                  <a class="id" href={`/keys?hash=${key.hash}`}>{`${key.hash.slice(0, 16)}…`}</a>
                </dd>
                <dt>State</dt>
                <dd>{key.state === null ? 'gone: its window is over' : key.state.replace('_', ' ')}</dd>
                {key.windowRemainingMs === null ? '' : <dt>Replays for</dt>}
                {key.windowRemainingMs === null ? '' : <dd>{period(key.windowRemainingMs)}</dd>}
              </dl>
            )}
          </Card>
          <Card title="Audit events" flush id="events" aside={<a href={`/audit?subject=${id}`}>In the audit trail</a>}>
            {events.length === 0 ? (
              <Empty title="None is about it">Runs of a `basic` server leave no events.</Empty>
            ) : (
              <EventList events={events} />
            )}
          </Card>
          {traceId === null ? (
            ''
          ) : (
            <Card title="Trace" id="trace">
              <p>
                <code class="wrap" id="trace-id">
                  {traceId}
                </code>
              </p>
              <button type="button" data-copy="trace-id">
                Copy
              </button>
            </Card>
          )}
        </div>
      </div>
    </gw-live>
  )
}

function Span({ request }: { readonly request: Detail['request'] }) {
  const { createdAt, updatedAt, expiresAt, attempt, recoveries, owner } = request
  return (
    <span class="muted small">
      {expiresAt === null ? `${period(Date.now() - createdAt)} so far` : `took ${period(updatedAt - createdAt)}`}
      {attempt > 1 ? `, attempt ${attempt}` : ''}
      {recoveries > 0 ? `, recovered ${recoveries === 1 ? 'once' : `${recoveries} times`} from an owner that died` : ''}
      {owner === null ? '' : `, run by ${owner}`}
    </span>
  )
}

function Facts({ detail }: { readonly detail: Detail }) {
  const { request } = detail
  return (
    <dl class="facts">
      <dt>Operation</dt>
      <dd>
        {request.operation} <span class="muted">version {request.version}</span>
      </dd>
      <dt>Route</dt>
      <dd class="mono">
        {request.method} {request.route}
      </dd>
      <dt>Principal</dt>
      <dd>{request.principal ?? <span class="muted">anonymous</span>}</dd>
      <dt>Accepted</dt>
      <dd>
        <When at={request.createdAt} />
      </dd>
      <dt>Changed</dt>
      <dd>
        <When at={request.updatedAt} />
      </dd>
      {request.stage === null ? '' : <dt>Stage</dt>}
      {request.stage === null ? (
        ''
      ) : (
        <dd>
          {request.stage}
          {request.progress === null ? '' : `, ${Math.round(request.progress * 100)} %`}
        </dd>
      )}
      <dt>Attempt</dt>
      <dd>{request.attempt}</dd>
      <dt>Recoveries</dt>
      <dd>{request.recoveries === 0 ? 'none' : request.recoveries}</dd>
      <dt>Owner</dt>
      <dd class="mono">{request.owner ?? <span class="muted">nobody now</span>}</dd>
      {request.wakeAt === null ? '' : <dt>Goes on</dt>}
      {request.wakeAt === null ? (
        ''
      ) : (
        <dd>
          <When at={request.wakeAt} />
        </dd>
      )}
      {request.requestId === null ? '' : <dt>X-Request-ID</dt>}
      {request.requestId === null ? '' : <dd class="mono">{request.requestId}</dd>}
      {request.forkedFrom === null ? '' : <dt>Forked from</dt>}
      {request.forkedFrom === null ? (
        ''
      ) : (
        <dd>
          <a class="id" href={`/requests/${request.forkedFrom}`}>
            {request.forkedFrom}
          </a>
        </dd>
      )}
      {request.expiresAt === null ? '' : <dt>Kept until</dt>}
      {request.expiresAt === null ? (
        ''
      ) : (
        <dd>
          <When at={request.expiresAt} />
        </dd>
      )}
    </dl>
  )
}

const momentsShown = 40

/** Waits, owners and what people did: what is not a step. */
function Moments({ timeline }: { readonly timeline: Detail['timeline'] }) {
  const moments = timeline.filter(({ kind }) => kind !== 'step').slice(-momentsShown)
  return (
    <ol class="event-list">
      {moments.map(({ at, kind, text }) => (
        <li>
          <span class="wrap">
            <strong>{kind.replaceAll('_', ' ')}</strong>
          </span>
          <When at={at} short />
          <span class="muted small wrap">{text}</span>
        </li>
      ))}
    </ol>
  )
}

function HeadersView({ headers }: { readonly headers: readonly (readonly [string, string])[] }) {
  if (headers.length === 0) return <p class="muted small">No header field was kept.</p>
  return (
    <details>
      <summary>{`${headers.length} header ${headers.length === 1 ? 'field' : 'fields'}`}</summary>
      <dl class="facts mono">
        {headers.map(([name, value]) => (
          <>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </>
        ))}
      </dl>
    </details>
  )
}

function HttpStatus({ status }: { readonly status: number }) {
  return (
    <Badge tone={status < 400 ? 'good' : 'bad'} icon={status < 400 ? 'check' : 'cross'}>
      {`HTTP ${status}`}
    </Badge>
  )
}
