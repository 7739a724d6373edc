/** @jsxImportSource hono/jsx */
import { Hono } from 'hono'
import type { AdminClient } from '../../admin/client.ts'
import type { AdminEnv } from '../../admin/visitor.ts'
import { clientOf, type PageServices, Refusal, read } from '../page-context.ts'
import { Confirm } from '../view/confirm.tsx'
import { count, period } from '../view/format.ts'
import { Empty, PageHead } from '../view/layout.tsx'
import { Spark } from '../view/plot.tsx'
import { show } from '../view/shell.tsx'
import { BreakerBadge } from '../view/status.tsx'
import { thinned } from '../view/thinned.ts'
import { When } from '../view/when.tsx'

const detailOf = (client: AdminClient, name: string) =>
  read(client.admin['circuit-breakers'][':name'].$get({ param: { name } }))
type Detail = Awaited<ReturnType<typeof detailOf>>

const actions = ['reset', 'open', 'close'] as const
type Action = (typeof actions)[number]

const words: Readonly<
  Record<Action, { readonly title: string; readonly submit: string; readonly effect: string; readonly done: string }>
> = {
  reset: {
    title: 'Reset',
    submit: 'Reset it',
    effect: 'It closes and forgets what it counted, and nobody holds it any more. Calls pass again from now on.',
    done: 'was reset: it is closed and counts anew',
  },
  open: {
    title: 'Hold open',
    submit: 'Hold it open',
    effect: 'It refuses every call until somebody resets it. Durable requests that need it wait meanwhile.',
    done: 'is held open until somebody resets it',
  },
  close: {
    title: 'Hold closed',
    submit: 'Hold it closed',
    effect: 'It passes every call until somebody resets it, whatever fails.',
    done: 'is held closed until somebody resets it',
  },
}

/** `/breakers`: the circuit breakers, their history, and what may be done to them. */
export function breakerRoutes(services: PageServices): Hono<AdminEnv> {
  const app = new Hono<AdminEnv>()
  app.get('/breakers', async (c) => {
    const client = clientOf(services, c)
    const names = [...services.gateway.breakers.all.keys()]
    const breakers = await Promise.all(names.map((name) => detailOf(client, name)))
    const { done, name = '' } = c.req.query()
    const action = actions.find((each) => each === done)
    return show(
      services,
      c,
      {
        title: 'Breakers',
        path: '/breakers',
        done:
          action === undefined || !services.gateway.breakers.all.has(name)
            ? undefined
            : { tone: 'good', text: `The breaker ${name} ${words[action].done}.` },
      },
      <Breakers
        breakers={breakers}
        traceOf={(name) => services.feed.trace('breaker', name)}
        mayAct={c.var.role === 'operate'}
      />,
    )
  })
  for (const action of actions) {
    app.get(`/breakers/:name/${action}`, (c) => {
      const name = c.req.param('name')
      const breaker = services.gateway.breakers.find(name)
      if (breaker === undefined) throw new Refusal(404, 'not_found', `There is no breaker ${name}.`)
      const { title, submit, effect } = words[action]
      return show(
        services,
        c,
        { title: `${title} ${name}`, path: '/breakers' },
        <Confirm
          title={`${title} ${name}?`}
          action={`/breakers/${encodeURIComponent(name)}/${action}`}
          submit={submit}
          back="/breakers"
          danger={action === 'open'}
          effect={
            <>
              <p>
                <strong>{name}</strong> <BreakerBadge state={breaker.state} forced={breaker.forced ?? null} />
              </p>
              <p>{effect}</p>
            </>
          }
        />,
      )
    })
    app.post(`/breakers/:name/${action}`, async (c) => {
      const name = c.req.param('name')
      await read(clientOf(services, c).admin['circuit-breaker'][':name'][':action'].$post({ param: { name, action } }))
      return c.redirect(`/breakers?${new URLSearchParams({ done: action, name })}`, 303)
    })
  }
  return app
}

function Breakers({
  breakers,
  traceOf,
  mayAct,
}: {
  readonly breakers: readonly Detail[]
  readonly traceOf: (name: string) => readonly number[]
  readonly mayAct: boolean
}) {
  return (
    <>
      <PageHead title="Breakers" lead="What stops calling a dependency that keeps failing" />
      {breakers.length === 0 ? (
        <div class="card">
          <Empty title="No circuit breaker yet">
            Guard a dependency with <code>gateway.breakers.add(name, breaker)</code>, or give an upstream a{' '}
            <code>breaker</code> in the configuration.
          </Empty>
        </div>
      ) : (
        <gw-live class="split" topics="breakers" slow="">
          {breakers.map((breaker) => (
            <BreakerCard breaker={breaker} trace={traceOf(breaker.name)} mayAct={mayAct} />
          ))}
        </gw-live>
      )}
    </>
  )
}

function BreakerCard({
  breaker,
  trace,
  mayAct,
}: {
  readonly breaker: Detail
  readonly trace: readonly number[]
  readonly mayAct: boolean
}) {
  const { name, state, forced, figures, terms } = breaker
  const at = `/breakers/${encodeURIComponent(name)}`
  return (
    <section class="card" id={name} aria-label={name}>
      <div class="card-head">
        <h2 class="wrap">{name}</h2>
        <BreakerBadge state={state} forced={forced} />
      </div>
      <div class="card-body">
        <dl class="facts columns">
          <div>
            <dt>Failures in the window</dt>
            <dd>
              {count(breaker.failure_count)} <span class="muted">({Math.round(breaker.failure_rate * 100)} %)</span>
            </dd>
          </div>
          <div>
            <dt>Window</dt>
            <dd>{period(terms.rollingWindowMs)}</dd>
          </div>
          <div>
            <dt>Stays open for</dt>
            <dd>{period(terms.openMs)}</dd>
          </div>
          <div>
            <dt>Trials half-open</dt>
            <dd>{count(terms.halfOpenMaxCalls)}</dd>
          </div>
          <div>
            <dt>Calls passed</dt>
            <dd>{count((figures['successes'] ?? 0) + (figures['failures'] ?? 0))}</dd>
          </div>
          <div>
            <dt>Calls refused</dt>
            <dd>{count(figures['rejected'] ?? 0)}</dd>
          </div>
          <div>
            <dt>Last failure</dt>
            <dd>{breaker.last_failure === null ? 'none' : <When at={Date.parse(breaker.last_failure)} short />}</dd>
          </div>
          <div>
            <dt>Next trial</dt>
            <dd>
              {breaker.next_attempt !== null ? (
                <When at={Date.parse(breaker.next_attempt)} short />
              ) : forced === 'open' ? (
                'when it is reset'
              ) : (
                'none is due'
              )}
            </dd>
          </div>
          <Cluster cluster={breaker.cluster} />
        </dl>
        <div>
          <p class="muted small">Failed or refused calls, last hour</p>
          <Spark values={thinned(trace)} />
        </div>
        <h3>History</h3>
        {breaker.history.length === 0 ? (
          <p class="muted">It has not changed its state yet.</p>
        ) : (
          <ol class="event-list inset">
            {breaker.history
              .toReversed()
              .slice(0, 8)
              .map((event) => (
                <li id={`breaker-event-${event.position}`}>
                  <a href={`/audit/${event.position}`}>{event.type.replace('breaker.', '').replaceAll('_', ' ')}</a>
                  <When at={Date.parse(event.time)} short />
                  <span class="muted small wrap">
                    {reasonOf(event.data)} {event.actor === null ? '' : `by ${event.actor}`}
                  </span>
                </li>
              ))}
          </ol>
        )}
        {mayAct ? (
          <div class="toolbar">
            <a class="button" href={`${at}/reset`} data-dialog="">
              Reset…
            </a>
            <a class="button" href={`${at}/open`} data-dialog="">
              Hold open…
            </a>
            <a class="button" href={`${at}/close`} data-dialog="">
              Hold closed…
            </a>
          </div>
        ) : (
          ''
        )}
      </div>
    </section>
  )
}

function reasonOf(data: unknown): string {
  const { reason, failureCount } = data as { readonly reason?: string; readonly failureCount?: number }
  const words = (reason ?? '').replaceAll('_', ' ')
  return failureCount === undefined || failureCount === 0 ? words : `${words}, ${count(failureCount)} failures`
}

/** What all nodes know of it together. */
function Cluster({ cluster }: { readonly cluster: Detail['cluster'] }) {
  if (cluster === null) return ''
  const { state, reason, votes, calls, failures } = cluster
  return (
    <>
      <div>
        <dt>Votes to open, by node</dt>
        <dd>{votes.length === 0 ? 'none' : votes.join(', ')}</dd>
      </div>
      <div>
        <dt>Failures on all nodes</dt>
        <dd>
          {count(failures)} <span class="muted">of {count(calls)} calls</span>
        </dd>
      </div>
      <div>
        <dt>Shared with other nodes</dt>
        <dd class="wrap">
          {state === 'shared' ? 'yes, over Redis' : state === 'idle' ? 'not yet' : `no: ${reason ?? ''}`}
        </dd>
      </div>
    </>
  )
}
