/** @jsxImportSource hono/jsx */
import type { NoticedLeak } from '@gw/pool'
import { Hono } from 'hono'
import type { AdminClient } from '../../admin/client.ts'
import type { AdminEnv } from '../../admin/visitor.ts'
import { clientOf, type PageServices, Refusal, read } from '../page-context.ts'
import { Capacity } from '../view/capacity.tsx'
import { Confirm } from '../view/confirm.tsx'
import { count, period } from '../view/format.ts'
import { Empty, PageHead } from '../view/layout.tsx'
import { Spark } from '../view/plot.tsx'
import { show } from '../view/shell.tsx'
import { Badge, StateBadge } from '../view/status.tsx'
import { thinned } from '../view/thinned.ts'
import { When } from '../view/when.tsx'

const detailOf = (client: AdminClient, name: string) =>
  read(client.admin['connection-pools'][':name'].$get({ param: { name } }))
type Detail = Awaited<ReturnType<typeof detailOf>>

const doneTexts: Readonly<Record<string, string>> = {
  refresh: 'replaces its connections: idle ones at once, those on loan when they come back',
  resize: 'has new bounds, until this process ends',
}

/** `/pools`: the connection pools, and what may be done to them. */
export function poolRoutes(services: PageServices): Hono<AdminEnv> {
  const { pools } = services.gateway
  const app = new Hono<AdminEnv>()
  app.get('/pools', async (c) => {
    const client = clientOf(services, c)
    const details = await Promise.all([...pools.all.keys()].map((name) => detailOf(client, name)))
    const { done = '', name = '' } = c.req.query()
    return show(
      services,
      c,
      {
        title: 'Pools',
        path: '/pools',
        done:
          doneTexts[done] === undefined || !pools.all.has(name)
            ? undefined
            : { tone: 'good', text: `The pool ${name} ${doneTexts[done]}.` },
      },
      <Pools
        pools={details}
        leaksOf={(name) => pools.all.get(name)?.leaks ?? []}
        traceOf={(name) => services.feed.trace('pool', name)}
        mayAct={c.var.role === 'operate'}
      />,
    )
  })

  const found = (name: string) => {
    const pool = pools.all.get(name)
    if (pool === undefined) throw new Refusal(404, 'not_found', `There is no pool ${name}.`)
    return pool.metrics()
  }
  app.get('/pools/:name/refresh', (c) => {
    const name = c.req.param('name')
    const metrics = found(name)
    return show(
      services,
      c,
      { title: `Refresh ${name}`, path: '/pools' },
      <Confirm
        title={`Refresh ${name}?`}
        action={`/pools/${encodeURIComponent(name)}/refresh`}
        submit="Refresh it"
        back="/pools"
        effect={
          <p>
            All {count(metrics.totalConnections)} connections are replaced: {count(metrics.idleConnections)} idle ones
            at once, {count(metrics.activeConnections)} on loan when they come back. Nobody who has one loses it.
          </p>
        }
      />,
    )
  })
  app.post('/pools/:name/refresh', async (c) => {
    const name = c.req.param('name')
    await read(clientOf(services, c).admin['connection-pools'][':name'].refresh.$post({ param: { name } }))
    return c.redirect(`/pools?${new URLSearchParams({ done: 'refresh', name })}`, 303)
  })
  app.get('/pools/:name/resize', (c) => {
    const name = c.req.param('name')
    const { minConnections, maxConnections } = found(name)
    return show(
      services,
      c,
      { title: `Resize ${name}`, path: '/pools' },
      <Confirm
        title={`Resize ${name}`}
        action={`/pools/${encodeURIComponent(name)}/resize`}
        submit="Resize it"
        back="/pools"
        effect={
          <p>
            The new bounds hold for every factory of the pool until this process ends. A smaller maximum closes idle
            connections now and others when they come back.
          </p>
        }
        fields={
          <>
            <div class="field">
              <label for="resize-min">Fewest connections</label>
              <input id="resize-min" name="min" type="number" min="0" required value={String(minConnections)} />
            </div>
            <div class="field">
              <label for="resize-max">Most connections</label>
              <input id="resize-max" name="max" type="number" min="1" required value={String(maxConnections)} />
            </div>
          </>
        }
      />,
    )
  })
  app.post('/pools/:name/resize', async (c) => {
    const name = c.req.param('name')
    const form = await c.req.formData()
    const [min, max] = [Number(form.get('min')), Number(form.get('max'))]
    await read(
      clientOf(services, c).admin['connection-pools'][':name'].resize.$post({ param: { name }, json: { min, max } }),
    )
    return c.redirect(`/pools?${new URLSearchParams({ done: 'resize', name })}`, 303)
  })
  return app
}

function Pools({
  pools,
  leaksOf,
  traceOf,
  mayAct,
}: {
  readonly pools: readonly Detail[]
  readonly leaksOf: (name: string) => readonly NoticedLeak[]
  readonly traceOf: (name: string) => readonly number[]
  readonly mayAct: boolean
}) {
  return (
    <>
      <PageHead title="Pools" lead="Connections that are lent to handlers and come back" />
      {pools.length === 0 ? (
        <div class="card">
          <Empty title="No connection pool yet">
            Lend connections with <code>gateway.pools.add(pool)</code>.
          </Empty>
        </div>
      ) : (
        <gw-live class="stack" topics="pools runs" slow="">
          {pools.map((pool) => (
            <PoolCard pool={pool} leaks={leaksOf(pool.name)} trace={traceOf(pool.name)} mayAct={mayAct} />
          ))}
        </gw-live>
      )}
    </>
  )
}

function PoolCard({
  pool,
  leaks,
  trace,
  mayAct,
}: {
  readonly pool: Detail
  readonly leaks: readonly NoticedLeak[]
  readonly trace: readonly number[]
  readonly mayAct: boolean
}) {
  const { name, metrics, history } = pool
  const failing = Object.values(metrics.factories).some((factory) => factory.failing)
  const at = `/pools/${encodeURIComponent(name)}`
  return (
    <section class="card" id={name} aria-label={name}>
      <div class="card-head">
        <h2 class="wrap">{name}</h2>
        <StateBadge good={!failing} text={failing ? 'connects fail' : 'connects'} />
      </div>
      <div class="card-body">
        <dl class="facts columns">
          <div>
            <dt>In use</dt>
            <dd>
              <Capacity
                used={metrics.activeConnections}
                spare={metrics.idleConnections}
                whole={metrics.maxConnections}
              />
            </dd>
          </div>
          <div>
            <dt>Waiting for one</dt>
            <dd>{count(metrics.waitingRequests)}</dd>
          </div>
          <div>
            <dt>Being opened</dt>
            <dd>{count(metrics.pendingConnections)}</dd>
          </div>
          <div>
            <dt>Fewest kept</dt>
            <dd>{count(metrics.minConnections)}</dd>
          </div>
          <div>
            <dt>Loans so far</dt>
            <dd>{count(metrics.successfulAcquisitions)}</dd>
          </div>
          <div>
            <dt>Mean wait for a loan</dt>
            <dd>{period(metrics.avgAcquisitionTimeMs)}</dd>
          </div>
          <div>
            <dt>Waited too long</dt>
            <dd>{count(metrics.acquisitionTimeouts)}</dd>
          </div>
          <div>
            <dt>Failed connects</dt>
            <dd>{count(metrics.connectionErrors)}</dd>
          </div>
          <div>
            <dt>Opened and closed</dt>
            <dd>
              {count(metrics.connectionsCreatedTotal)} and {count(metrics.connectionsClosedTotal)}
            </dd>
          </div>
          <div>
            <dt>Loans too long</dt>
            <dd>{count(metrics.leaksTotal)}</dd>
          </div>
        </dl>
        <div>
          <p class="muted small">Connections in use, last hour</p>
          <Spark values={thinned(trace)} />
        </div>
        {Object.keys(metrics.factories).length > 1 ? <Factories factories={metrics.factories} /> : ''}
        <h3>Loans that were too long</h3>
        {leaks.length === 0 ? (
          <p class="muted">None was noticed. They are noticed where the pool has a `leakThresholdMs`.</p>
        ) : (
          <ol class="event-list inset">
            {leaks.toReversed().map((leak) => (
              <li>
                <span>
                  {leak.factory}, held for {period(leak.heldMs)}{' '}
                  {leak.reclaimed ? (
                    <Badge tone="wait" icon="slash">
                      lost, connection closed
                    </Badge>
                  ) : (
                    <Badge tone="bad" icon="clock">
                      was still out
                    </Badge>
                  )}
                </span>
                <When at={leak.at} short />
                {leak.stack === undefined ? (
                  ''
                ) : (
                  <details>
                    <summary>Where it was taken</summary>
                    <pre class="payload">{leak.stack}</pre>
                  </details>
                )}
              </li>
            ))}
          </ol>
        )}
        <h3>History</h3>
        {history.length === 0 ? (
          <p class="muted">Nothing has happened to it as a whole.</p>
        ) : (
          <ol class="event-list inset">
            {history
              .toReversed()
              .slice(0, 8)
              .map((event) => (
                <li id={`pool-event-${event.position}`}>
                  <a href={`/audit/${event.position}`}>{event.type.replace('pool.', '').replaceAll('_', ' ')}</a>
                  <When at={Date.parse(event.time)} short />
                  <span class="muted small wrap">{event.actor ?? 'the gateway'}</span>
                </li>
              ))}
          </ol>
        )}
        {mayAct ? (
          <div class="toolbar">
            <a class="button" href={`${at}/resize`} data-dialog="">
              Resize…
            </a>
            <a class="button" href={`${at}/refresh`} data-dialog="">
              Refresh…
            </a>
          </div>
        ) : (
          ''
        )}
      </div>
    </section>
  )
}

function Factories({ factories }: { readonly factories: Detail['metrics']['factories'] }) {
  return (
    <>
      <h3>Factories</h3>
      <table class="grid cards">
        <thead>
          <tr>
            <th scope="col">Factory</th>
            <th scope="col">In use</th>
            <th scope="col" class="number">
              Waiting
            </th>
            <th scope="col" class="number">
              Loans
            </th>
            <th scope="col">Connects</th>
          </tr>
        </thead>
        <tbody>
          {Object.entries(factories).map(([name, factory]) => (
            <tr>
              <th scope="row" class="lead-cell wrap">
                {name}
              </th>
              <td data-label="In use">
                <Capacity
                  used={factory.activeConnections}
                  spare={factory.idleConnections}
                  whole={factory.maxConnections}
                />
              </td>
              <td data-label="Waiting" class="number">
                {count(factory.waitingRequests)}
              </td>
              <td data-label="Loans" class="number">
                {count(factory.successfulAcquisitions)}
              </td>
              <td data-label="Connects">
                <StateBadge good={!factory.failing} text={factory.failing ? 'fail' : 'succeed'} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  )
}
