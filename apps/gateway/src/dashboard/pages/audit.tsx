/** @jsxImportSource hono/jsx */
import { checkpoints } from '@gw/events/proofs'
import { Hono } from 'hono'
import { EventFilterQuery, eventFilterOf } from '../../admin/audit-trail.ts'
import type { AdminClient } from '../../admin/client.ts'
import { Time } from '../../admin/parameters.ts'
import type { AdminEnv } from '../../admin/visitor.ts'
import { newestEvents } from '../../newest-events.ts'
import { fieldTime, filtersOf, withFilters } from '../filters.ts'
import { clientOf, type PageServices, Refusal, read } from '../page-context.ts'
import { TextFilter } from '../view/filter-field.tsx'
import { FilterForm } from '../view/filter-form.tsx'
import { count } from '../view/format.ts'
import { Card, Empty, PageHead } from '../view/layout.tsx'
import { show } from '../view/shell.tsx'
import { Badge, Note } from '../view/status.tsx'
import { When } from '../view/when.tsx'
import { EventTable, type LogEvent } from './event-table.tsx'

const names = ['event_type', 'user_id', 'subject', 'stream', 'request_id', 'from', 'to'] as const
type Filters = Readonly<Partial<Record<(typeof names)[number], string>>>

const rare = ['stream', 'request_id', 'from', 'to'] as const
const pageSize = 50
const verify = (client: AdminClient) => read(client.admin.events.verify.$get())
type Verification = Awaited<ReturnType<typeof verify>>

/** What the last look over the whole log found, and when. */
interface Verified {
  readonly at: number
  readonly by: string
  readonly found: Verification
}

/** `/audit`: the audit trail, newest first. */
export function auditRoutes(services: PageServices): Hono<AdminEnv> {
  const { events } = services.gateway
  const app = new Hono<AdminEnv>()
  let verified: Verified | undefined

  app.get('/audit', async (c) => {
    const filters: Filters = filtersOf(c.req.url, names)
    const { before } = c.req.query()
    const page = await newestEvents(events, storeFilterOf(filters), { before: positionOf(before), limit: pageSize })
    const [notes, head] = await Promise.all([checkpoints(events), events.store.head()])
    return show(
      services,
      c,
      { title: 'Audit trail', path: '/audit' },
      <Audit
        filters={filters}
        events={page.events}
        paged={before !== undefined}
        older={page.before}
        notes={notes}
        head={head.position}
        verified={verified}
      />,
    )
  })

  app.get('/audit/verification', async (c) => {
    const found = await verify(clientOf(services, c))
    verified = { at: Date.now(), by: c.var.actor, found }
    return show(
      services,
      c,
      { title: 'Verification', path: '/audit/verification' },
      <VerificationPage verified={verified} />,
    )
  })
  return app
}

function storeFilterOf({ from, to, ...filters }: Filters) {
  const time = (name: string, text: string) => {
    const parsed = Time.safeParse(text)
    if (parsed.success) return parsed.data
    throw new Refusal(
      400,
      'invalid_parameter',
      `Expected \`${name}\` to be a time such as 2026-01-31T12:00:00Z, got \`${text}\``,
    )
  }
  return {
    ...eventFilterOf(EventFilterQuery.parse(filters)),
    ...(from === undefined ? {} : { from: time('from', from) }),
    ...(to === undefined ? {} : { to: time('to', to) }),
  }
}

function positionOf(text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined
  if (/^[1-9]\d{0,18}$/.test(text)) return BigInt(text)
  throw new Refusal(400, 'invalid_parameter', `Expected \`before\` to be a position, got \`${text}\``)
}

function Audit({
  filters,
  events,
  paged,
  older,
  notes,
  head,
  verified,
}: {
  readonly filters: Filters
  readonly events: readonly LogEvent[]
  readonly paged: boolean
  readonly older: string | undefined
  readonly notes: readonly string[]
  readonly head: bigint
  readonly verified: Verified | undefined
}) {
  const filtered = Object.keys(filters).length > 0
  const { from: _from, to: _to, ...downloadable } = filters
  return (
    <>
      <PageHead
        title="Audit trail"
        lead={`${count(Number(head))} events, each chained to the one before it; newest first`}
      >
        <div class="toolbar">
          <a class="button" href="/audit/verification">
            Verify now
          </a>
        </div>
      </PageHead>
      <div class="stack">
        <div class="split">
          <Card title="Verification" id="verification">
            {verified === undefined ? (
              <p>
                Nobody has verified the log since this process started. <a href="/audit/verification">Verify it now</a>:
                every hash is computed anew.
              </p>
            ) : (
              <p>
                <Badge tone={verified.found.ok ? 'good' : 'bad'} icon={verified.found.ok ? 'check' : 'warn'}>
                  {verified.found.ok ? 'whole' : 'damaged'}
                </Badge>{' '}
                {count(verified.found.events)} events, by {verified.by}, <When at={verified.at} />
              </p>
            )}
          </Card>
          <Card title="Signed checkpoints" id="checkpoints">
            {notes.length === 0 ? (
              <p>
                None is signed yet. They are made every hour, and with every <a href="#event-rows">proof of an event</a>
                .
              </p>
            ) : (
              <details>
                <summary>{`${count(notes.length)} signed, the newest`}</summary>
                <pre class="payload">{notes.at(-1)}</pre>
              </details>
            )}
          </Card>
        </div>
        <gw-live class="page-table card" topics="events" held={paged ? '' : undefined}>
          <FilterForm
            label="Events"
            action="/audit"
            filtered={filtered}
            rareInUse={rare.some((name) => filters[name] !== undefined)}
            rare={
              <>
                <TextFilter name="stream" label="Stream" value={filters.stream} />
                <TextFilter name="request_id" label="X-Request-ID" value={filters.request_id} />
                <TextFilter name="from" label="From (UTC)" type="datetime-local" value={fieldTime(filters.from)} />
                <TextFilter name="to" label="Before (UTC)" type="datetime-local" value={fieldTime(filters.to)} />
              </>
            }
          >
            <TextFilter
              name="event_type"
              label="Type"
              type="search"
              value={filters.event_type}
              placeholder="one, or several with commas"
              search
              grow
            />
            <TextFilter name="user_id" label="Actor" value={filters.user_id} />
            <TextFilter name="subject" label="Subject" value={filters.subject} />
          </FilterForm>
          <div class="bulk">
            <span class="small">Download</span>
            <a
              href={withFilters('/admin/events/export', { ...downloadable, format: 'ndjson' })}
              download="events.ndjson"
            >
              JSON lines
            </a>
            <a href={withFilters('/admin/events/export', downloadable)} download="events.json">
              CloudEvents
            </a>
            {filtered ? (
              ''
            ) : (
              <a href="/admin/events/export?format=bundle" download="events-bundle.ndjson">
                Bundle to verify elsewhere
              </a>
            )}
            <span class="live">
              <span class="small muted" data-live-state="" role="status">
                {paged ? 'An older page: it stands still' : ''}
              </span>
              <button type="button" data-pause="" aria-pressed="false" hidden>
                Pause
              </button>
            </span>
          </div>
          <div id="event-rows">
            {events.length === 0 ? (
              <Empty title={filtered ? 'No event is like that' : 'No event yet'}>
                {filtered ? (
                  <>
                    Take a filter away, or <a href="/audit">look at all of them</a>.
                  </>
                ) : (
                  'The first request leaves the first ones.'
                )}
              </Empty>
            ) : (
              <EventTable events={events} />
            )}
            <div class="pager">
              <span class="muted small">{events.length === 0 ? '' : `${events.length} on this page`}</span>
              <span class="spacer" />
              {paged ? <a href={withFilters('/audit', filters)}>Newest</a> : ''}
              {older === undefined ? '' : <a href={withFilters('/audit', { ...filters, before: older })}>Older</a>}
            </div>
          </div>
        </gw-live>
      </div>
    </>
  )
}

function VerificationPage({ verified: { found, at } }: { readonly verified: Verified }) {
  return (
    <div class="stack">
      <div>
        <p class="crumb">
          <a href="/audit">Audit trail</a> / verification
        </p>
        <PageHead title="Verification" lead={<When at={at} />} />
      </div>
      <div role="status">
        <Note tone={found.ok ? 'good' : 'bad'}>
          <strong>{found.ok ? 'The log is whole.' : 'The log is damaged.'}</strong> {count(found.events)} events were
          read and every hash was computed anew.
        </Note>
      </div>
      <Card title="What was found" id="found">
        <dl class="facts">
          <dt>Last event</dt>
          <dd>#{found.head.position}</dd>
          <dt>Its hash</dt>
          <dd class="mono">{found.head.hash}</dd>
          <dt>Root of the tree</dt>
          <dd class="mono">{found.root ?? 'not computed: something is missing'}</dd>
          <dt>Taken by retention</dt>
          <dd>{found.retentionCut === '0' ? 'nothing' : `up to #${found.retentionCut}`}</dd>
          <dt>End and whole</dt>
          <dd>
            {found.truncationChecked
              ? 'compared with the checkpoints that were signed before'
              : 'not compared: no checkpoint was signed before. A chain alone cannot show that its end was cut off.'}
          </dd>
        </dl>
      </Card>
      {found.problems.length === 0 ? (
        ''
      ) : (
        <Card title="Problems" flush id="problems">
          <table class="grid cards">
            <thead>
              <tr>
                <th scope="col">Position</th>
                <th scope="col">Kind</th>
                <th scope="col">What</th>
              </tr>
            </thead>
            <tbody>
              {found.problems.map(({ kind, position, detail }) => (
                <tr>
                  <th scope="row" class="lead-cell">
                    <a href={`/audit/${position}`}>#{position}</a>
                  </th>
                  <td data-label="Kind">{kind}</td>
                  <td data-label="What" class="wrap">
                    {detail}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Card>
      )}
    </div>
  )
}
