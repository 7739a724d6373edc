/** @jsxImportSource hono/jsx */
import { Hono } from 'hono'
import type { AdminEnv } from '../../admin/visitor.ts'
import type { Notice } from '../notices.ts'
import type { PageServices } from '../page-context.ts'
import { Capacity } from '../view/capacity.tsx'
import { count, figure } from '../view/format.ts'
import { Card, Empty, PageHead } from '../view/layout.tsx'
import { Plot, Spark } from '../view/plot.tsx'
import { show } from '../view/shell.tsx'
import { Badge, BreakerBadge, Note, RunBadge, StateBadge, statuses } from '../view/status.tsx'
import { thinned } from '../view/thinned.ts'
import { When } from '../view/when.tsx'
import { columns, type Figures, type History } from '../wire.ts'
import { overviewOf } from './overview-data.ts'

/** A circuit breaker at a glance. */
export interface BreakerGlance {
  readonly name: string
  readonly state: string
  readonly forced: string | null
  readonly failureCount: number
  readonly trace: readonly number[]
}

/** A pool at a glance. */
export interface PoolGlance {
  readonly name: string
  readonly active: number
  readonly idle: number
  readonly max: number
  readonly waiting: number
  readonly failing: boolean
  readonly trace: readonly number[]
}

/** One process on the store. */
export interface NodeGlance {
  readonly owner: string
  readonly here: boolean
  readonly leaseRemainingMs: number | undefined
}

/** What the first page shows. */
export interface OverviewProps {
  readonly phase: string
  readonly storage: string
  readonly engine: string
  readonly startedAt: number
  readonly figures: Figures
  readonly history: History
  readonly counts: Readonly<Record<string, number>>
  readonly notices: readonly Notice[]
  readonly breakers: readonly BreakerGlance[]
  readonly pools: readonly PoolGlance[]
  readonly nodes: readonly NodeGlance[]
}

/** `/`: the overview. */
export function overviewRoutes(services: PageServices): Hono<AdminEnv> {
  const app = new Hono<AdminEnv>()
  app.get('/', async (c) => {
    const props = await overviewOf(services)
    return show(services, c, { title: 'Overview', path: '/' }, <Overview {...props} />)
  })
  return app
}

const tiles: readonly (readonly [column: keyof Figures, name: string, unit: string])[] = [
  ['requests', 'Requests', '/s'],
  ['p50', 'Latency p50', 'ms'],
  ['p95', 'Latency p95', 'ms'],
  ['p99', 'Latency p99', 'ms'],
  ['errors', 'Errors (5xx)', '/s'],
  ['replays', 'Replays', '/s'],
  ['conflicts', 'Key conflicts', '/s'],
  ['inFlight', 'In flight', ''],
  ['queued', 'Queued', ''],
  ['commitMs', 'Store commit', 'ms'],
]
const sparkSlots = 60

/** Whether the gateway is well, and what it is doing. */
function Overview(props: OverviewProps) {
  const { figures, history, counts, notices } = props
  return (
    <>
      <PageHead title="Overview" />
      <div class="stack">
        <gw-live topics="breakers pools runs" slow="">
          <p class="health" id="health">
            <StateBadge good={props.phase === 'ready'} text={props.phase} />
            <StateBadge good={props.storage === 'open'} text={`storage ${props.storage}`} />
            <span class="muted">
              {props.engine} · started <When at={props.startedAt} />
            </span>
          </p>
          <ul class="notes" id="notices">
            {notices.map(({ tone, text, href }) => (
              <li>
                <Note tone={tone}>{href === undefined ? text : <a href={href}>{text}</a>}</Note>
              </li>
            ))}
          </ul>
        </gw-live>
        <dl class="tiles" aria-label="Figures of the last ten seconds">
          {tiles.map(([column, name, unit]) => (
            <div class="tile">
              <dt>{name}</dt>
              <dd class="value">
                <gw-figure column={column}>{figure(figures[column])}</gw-figure>
                <span class="unit"> {unit}</span>
              </dd>
              <dd>
                <Spark
                  column={column}
                  values={history.slots.slice(-sparkSlots).map(({ values }) => values[columns.indexOf(column)] ?? null)}
                />
              </dd>
            </div>
          ))}
        </dl>
        <div class="plots">
          <Plot
            title="Throughput"
            unit="a second"
            history={history}
            lines={[
              { column: 'requests', name: 'Requests' },
              { column: 'errors', name: 'Errors' },
              { column: 'replays', name: 'Replays' },
              { column: 'conflicts', name: 'Conflicts' },
            ]}
          />
          <Plot
            title="Latency"
            unit="milliseconds"
            history={history}
            lines={[
              { column: 'p50', name: 'p50' },
              { column: 'p95', name: 'p95' },
              { column: 'p99', name: 'p99' },
            ]}
          />
          <Plot
            title="Work at hand"
            unit="requests and writes"
            history={history}
            lines={[
              { column: 'inFlight', name: 'In flight' },
              { column: 'running', name: 'Handlers' },
              { column: 'queued', name: 'Queued' },
              { column: 'pendingWrites', name: 'Writes' },
            ]}
          />
          <Plot
            title="Store"
            unit="milliseconds a commit"
            history={history}
            lines={[{ column: 'commitMs', name: 'Commit' }]}
          />
        </div>
        <Card title="Durable requests" flush aside={<a href="/requests">All requests</a>}>
          <ul class="states">
            {statuses.map((status) => (
              <li>
                <a href={`/requests?status=${status}`}>
                  <RunBadge status={status} />
                  <span class="many" data-count={status}>
                    {count(counts[status] ?? 0)}
                  </span>
                </a>
              </li>
            ))}
          </ul>
        </Card>
        <gw-live class="split" topics="breakers pools" slow="">
          <div class="card flush" id="overview-breakers">
            <Breakers breakers={props.breakers} />
          </div>
          <div class="card flush" id="overview-pools">
            <Pools pools={props.pools} />
          </div>
          <div class="card flush" id="overview-nodes">
            <Nodes nodes={props.nodes} />
          </div>
        </gw-live>
      </div>
    </>
  )
}

function Breakers({ breakers }: { readonly breakers: readonly BreakerGlance[] }) {
  return (
    <>
      <div class="card-head">
        <h2>Circuit breakers</h2>
        <a href="/breakers">All breakers</a>
      </div>
      {breakers.length === 0 ? (
        <Empty title="No breaker yet">
          Guard a dependency with <code>gateway.breakers.add(name, breaker)</code>.
        </Empty>
      ) : (
        <table class="grid cards">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">State</th>
              <th scope="col" class="number">
                Failures
              </th>
              <th scope="col">Failed or refused, last hour</th>
            </tr>
          </thead>
          <tbody>
            {breakers.map(({ name, state, forced, failureCount, trace }) => (
              <tr>
                <th scope="row" class="wrap lead-cell">
                  <a href={`/breakers#${encodeURIComponent(name)}`}>{name}</a>
                </th>
                <td data-label="State" class="tight">
                  <BreakerBadge state={state} forced={forced} />
                </td>
                <td data-label="Failures" class="number">
                  {count(failureCount)}
                </td>
                <td data-label="Last hour">
                  <Spark values={thinned(trace)} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  )
}

function Pools({ pools }: { readonly pools: readonly PoolGlance[] }) {
  return (
    <>
      <div class="card-head">
        <h2>Connection pools</h2>
        <a href="/pools">All pools</a>
      </div>
      {pools.length === 0 ? (
        <Empty title="No pool yet">
          Lend connections with <code>gateway.pools.add(pool)</code>.
        </Empty>
      ) : (
        <table class="grid cards">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">In use</th>
              <th scope="col" class="number">
                Waiting
              </th>
              <th scope="col">In use, last hour</th>
            </tr>
          </thead>
          <tbody>
            {pools.map(({ name, active, idle, max, waiting, failing, trace }) => (
              <tr>
                <th scope="row" class="wrap lead-cell">
                  <a href={`/pools#${encodeURIComponent(name)}`}>{name}</a>{' '}
                  {failing ? (
                    <Badge tone="bad" icon="warn">
                      connects fail
                    </Badge>
                  ) : (
                    ''
                  )}
                </th>
                <td data-label="In use">
                  <Capacity used={active} spare={idle} whole={max} />
                </td>
                <td data-label="Waiting" class="number">
                  {count(waiting)}
                </td>
                <td data-label="Last hour">
                  <Spark values={thinned(trace)} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  )
}

function Nodes({ nodes }: { readonly nodes: readonly NodeGlance[] }) {
  return (
    <>
      <div class="card-head">
        <h2>Nodes</h2>
        <span class="muted small">processes that run requests of this store</span>
      </div>
      {nodes.length === 0 ? (
        <Empty title="No node has said that it is alive">It does once the gateway has started.</Empty>
      ) : (
        <table class="grid cards">
          <thead>
            <tr>
              <th scope="col">Node</th>
              <th scope="col">Lease</th>
            </tr>
          </thead>
          <tbody>
            {nodes.map(({ owner, here, leaseRemainingMs }) => (
              <tr>
                <th scope="row" class="wrap lead-cell">
                  <span class="mono">{owner}</span> {here ? <span class="muted small">this process</span> : ''}
                </th>
                <td data-label="Lease">
                  {leaseRemainingMs === undefined ? (
                    <Badge tone="good" icon="check">
                      needs none: alone here
                    </Badge>
                  ) : leaseRemainingMs > 0 ? (
                    <Badge tone="good" icon="check">{`${Math.ceil(leaseRemainingMs / 1_000)} s left`}</Badge>
                  ) : (
                    <Badge tone="bad" icon="warn">
                      over: its requests are taken over
                    </Badge>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  )
}
