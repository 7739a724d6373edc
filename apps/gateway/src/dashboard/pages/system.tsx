/** @jsxImportSource hono/jsx */
import { Hono } from 'hono'
import type { AdminClient } from '../../admin/client.ts'
import type { AdminEnv } from '../../admin/visitor.ts'
import { findingsOf } from '../findings.ts'
import type { Notice } from '../notices.ts'
import { clientOf, type PageServices, read } from '../page-context.ts'
import { Confirm } from '../view/confirm.tsx'
import { bytes, count, period } from '../view/format.ts'
import { Card, Empty, PageHead } from '../view/layout.tsx'
import { show } from '../view/shell.tsx'
import { Badge, Note, StateBadge } from '../view/status.tsx'
import { When } from '../view/when.tsx'

const systemOf = (client: AdminClient) => read(client.admin.system.$get())
type System = Awaited<ReturnType<typeof systemOf>>

/** `/system`: this process, its like, its configuration, and its end. */
export function systemRoutes(services: PageServices): Hono<AdminEnv> {
  const app = new Hono<AdminEnv>()
  app.get('/system', async (c) => {
    const system = await systemOf(clientOf(services, c))
    return show(
      services,
      c,
      {
        title: 'System',
        path: '/system',
        done:
          c.req.query('done') === 'drain'
            ? {
                tone: 'wait',
                text: 'This process shuts down: it takes no new requests, and hands over what does not finish.',
              }
            : undefined,
      },
      <SystemPage
        system={system}
        findings={findingsOf(services.gateway, services.feed.counts, system.figures.eventLoopUtilization)}
        mayAct={c.var.role === 'operate'}
      />,
    )
  })
  app.get('/system/drain', async (c) => {
    const { figures, node } = await systemOf(clientOf(services, c))
    return show(
      services,
      c,
      { title: 'Drain', path: '/system' },
      <Confirm
        title="Shut this process down?"
        action="/system/drain"
        submit="Drain and stop"
        back="/system"
        danger
        effect={
          <>
            <p>
              <strong>{node.id}</strong>, process {node.pid}
            </p>
            <p>
              Readiness says no, new requests are refused, {count(figures.inFlight)} under way may finish, and{' '}
              {count(figures.liveRuns)} running handlers finish or are handed over. Then the process ends. This
              dashboard goes with it.
            </p>
          </>
        }
      />,
    )
  })
  app.post('/system/drain', async (c) => {
    await read(clientOf(services, c).admin.system.drain.$post())
    return c.redirect('/system?done=drain', 303)
  })
  return app
}

function SystemPage({
  system,
  findings,
  mayAct,
}: {
  readonly system: System
  readonly findings: readonly Notice[]
  readonly mayAct: boolean
}) {
  const { figures, node, runtime } = system
  return (
    <>
      <PageHead title="System" lead={`Durable Gateway ${system.version} on ${runtime.name} ${runtime.version}`}>
        {mayAct ? (
          <a class="button" href="/system/drain" data-dialog="">
            Drain and stop…
          </a>
        ) : (
          ''
        )}
      </PageHead>
      <gw-live class="stack" topics="events" slow="">
        <ul class="notes" id="findings">
          {findings.map(({ tone, text, href }) => (
            <li>
              <Note tone={tone}>{href === undefined || href === '/system' ? text : <a href={href}>{text}</a>}</Note>
            </li>
          ))}
        </ul>
        <div class="split" id="system-parts">
          <Card title="This process" aside={<StateBadge good={system.phase === 'ready'} text={system.phase} />}>
            <dl class="facts">
              <dt>Node</dt>
              <dd class="mono">{node.id}</dd>
              <dt>Process</dt>
              <dd>
                {node.pid} on {runtime.platform}
              </dd>
              <dt>Started</dt>
              <dd>
                <When at={node.startedAt} />
              </dd>
              <dt>Requests under way</dt>
              <dd>
                {count(figures.inFlight)} of {count(figures.maxConcurrentRequests)} that may be
              </dd>
              <dt>Handlers that run</dt>
              <dd>{count(figures.liveRuns)}</dd>
              <dt>Keys held</dt>
              <dd>{count(figures.heldKeys)}</dd>
              <dt>Memory</dt>
              <dd>
                {bytes(figures.rssBytes)}, heap {bytes(figures.heapUsedBytes)}
              </dd>
              <dt>Event loop busy</dt>
              <dd>{Math.round(figures.eventLoopUtilization * 100)} %</dd>
              <dt>Events buffered</dt>
              <dd>{count(figures.bufferedEvents)}</dd>
            </dl>
          </Card>
          <Card title="Nodes" flush aside={<span class="muted small">processes on this storage</span>}>
            {system.nodes.length === 0 ? (
              <Empty title="This process is alone on its storage">
                It has the data directory to itself, so it needs no lease.
              </Empty>
            ) : (
              <table class="grid cards">
                <thead>
                  <tr>
                    <th scope="col">Node</th>
                    <th scope="col" class="number">
                      Running
                    </th>
                    <th scope="col">Lease</th>
                  </tr>
                </thead>
                <tbody>
                  {system.nodes.map(({ owner, leaseRemainingMs, running }) => (
                    <tr>
                      <th scope="row" class="wrap lead-cell">
                        <span class="mono">{owner}</span>
                        {owner === node.owner ? <span class="muted small"> this process</span> : ''}
                      </th>
                      <td data-label="Running" class="number">
                        {running === null ? '–' : count(running)}
                      </td>
                      <td data-label="Lease" class="tight">
                        {leaseRemainingMs > 0 ? (
                          <Badge tone="good" icon="check">
                            {`${period(leaseRemainingMs)} left`}
                          </Badge>
                        ) : (
                          <Badge tone="bad" icon="warn">
                            over
                          </Badge>
                        )}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            )}
          </Card>
        </div>
      </gw-live>
      <div class="stack after">
        <Card
          title="Configuration in force"
          id="configuration"
          aside={<span class="muted small">secrets are masked</span>}
        >
          {system.configurationRefusal === null ? (
            ''
          ) : (
            <Note tone="bad">The newest file is not in force: {system.configurationRefusal}</Note>
          )}
          {system.configurationPending.length === 0 ? (
            ''
          ) : (
            <Note tone="wait">In force with the next start only: {system.configurationPending.join(', ')}</Note>
          )}
          <section class="payload" tabindex={0} aria-label="Configuration as JSON">
            <pre>{JSON.stringify(system.configuration, null, 2)}</pre>
          </section>
        </Card>
        <Card title="For programs" id="programs">
          <p>
            <a href="/metrics">Metrics for Prometheus</a> · <a href="/openapi.json">The admin API as OpenAPI 3.1</a>
          </p>
        </Card>
      </div>
    </>
  )
}
