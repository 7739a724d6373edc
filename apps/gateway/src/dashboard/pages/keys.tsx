/** @jsxImportSource hono/jsx */
import { Hono } from 'hono'
import type { AdminClient } from '../../admin/client.ts'
import type { AdminEnv } from '../../admin/visitor.ts'
import { filtersOf, withFilters } from '../filters.ts'
import { clientOf, type PageServices, read } from '../page-context.ts'
import { Confirm } from '../view/confirm.tsx'
import { TextFilter } from '../view/filter-field.tsx'
import { bytes, count, period } from '../view/format.ts'
import { Card, Empty, PageHead } from '../view/layout.tsx'
import { show } from '../view/shell.tsx'
import { Badge } from '../view/status.tsx'

const names = ['hash', 'key', 'principal', 'method', 'route', 'tenant'] as const
type Scope = Readonly<Partial<Record<(typeof names)[number], string>>>
const find = (client: AdminClient, query: Scope) => read(client.admin.keys.$get({ query }))
type Key = Awaited<ReturnType<typeof find>>['keys'][number]

/** `/keys`: finding an idempotency key, freeing it, and erasing what a principal has. */
export function keyRoutes(services: PageServices): Hono<AdminEnv> {
  const app = new Hono<AdminEnv>()
  app.get('/keys', async (c) => {
    const scope: Scope = filtersOf(c.req.url, names)
    const asked = scope.hash !== undefined || (scope.key !== undefined && scope.route !== undefined)
    const found = asked ? (await find(clientOf(services, c), scope)).keys : undefined
    const erased = c.req.query('erased')
    const done =
      c.req.query('done') === 'release'
        ? { tone: 'good' as const, text: 'The key is free: the next request that brings it runs.' }
        : erased === undefined
          ? undefined
          : { tone: 'good' as const, text: `${count(Number(erased) || 0)} kept answers were removed.` }
    return show(
      services,
      c,
      { title: 'Keys', path: '/keys', done },
      <Keys scope={scope} found={found} mayAct={c.var.role === 'operate'} held={services.gateway.idempotency.held} />,
    )
  })

  app.get('/keys/release', async (c) => {
    const hash = c.req.query('hash') ?? ''
    const [key] = (await find(clientOf(services, c), { hash })).keys
    return show(
      services,
      c,
      { title: 'Release a key', path: '/keys/release' },
      <Confirm
        title="Release this key?"
        action="/keys/release"
        submit="Release it"
        back={withFilters('/keys', { hash })}
        danger
        possible={key?.state === 'in_flight'}
        effect={
          <>
            <p class="id">{hash}</p>
            <p>
              {key?.state === 'in_flight'
                ? 'The next request that brings this key runs. The one that holds it may have had effects, or still be running: find out first.'
                : 'The key is not under way, so there is nothing to release.'}
            </p>
          </>
        }
        fields={<input type="hidden" name="hash" value={hash} />}
      />,
    )
  })
  app.post('/keys/release', async (c) => {
    const hash = String((await c.req.formData()).get('hash') ?? '')
    await read(clientOf(services, c).admin.keys.release.$post({ json: { hash } }))
    return c.redirect(withFilters('/keys', { hash, done: 'release' }), 303)
  })

  app.get('/keys/erase', (c) =>
    show(
      services,
      c,
      { title: 'Erase the keys of a principal', path: '/keys/erase' },
      <Confirm
        title="Erase the keys of a principal"
        action="/keys/erase"
        submit="Erase them"
        back="/keys"
        danger
        effect={
          <p>
            Every kept answer of the principal is removed: its requests are no longer replayed, and sent again they run
            again. Keys under way stay.
          </p>
        }
        fields={
          <>
            <div class="field">
              <label for="erase-principal">Principal</label>
              <input
                id="erase-principal"
                name="principal"
                required
                autocomplete="off"
                value={c.req.query('principal') ?? ''}
              />
            </div>
            <div class="field">
              <label for="erase-tenant">Tenant, where there are tenants</label>
              <input id="erase-tenant" name="tenant" autocomplete="off" />
            </div>
          </>
        }
      />,
    ),
  )
  app.post('/keys/erase', async (c) => {
    const form = await c.req.formData()
    const tenant = String(form.get('tenant') ?? '')
    const { erased } = await read(
      clientOf(services, c).admin.keys.erase.$post({
        json: { principal: String(form.get('principal') ?? ''), ...(tenant === '' ? {} : { tenant }) },
      }),
    )
    return c.redirect(`/keys?erased=${erased}`, 303)
  })
  return app
}

function Keys({
  scope,
  found,
  mayAct,
  held,
}: {
  readonly scope: Scope
  readonly found: readonly Key[] | undefined
  readonly mayAct: boolean
  readonly held: number
}) {
  return (
    <>
      <PageHead
        title="Keys"
        lead={`Idempotency keys are stored under hashes; ${count(held)} are held by this process now`}
      >
        {mayAct ? (
          <a class="button" href="/keys/erase" data-dialog="">
            Erase a principal's…
          </a>
        ) : (
          ''
        )}
      </PageHead>
      <div class="stack">
        <section class="card" aria-label="Find a key">
          <search>
            <form method="get" action="/keys">
              <div class="filters">
                <TextFilter
                  name="key"
                  label="Idempotency-Key"
                  type="search"
                  value={scope.key}
                  placeholder="as the client sent it"
                  search
                  grow
                />
                <TextFilter name="principal" label="Principal" value={scope.principal} placeholder="anonymous" />
                <TextFilter name="method" label="Method" value={scope.method} placeholder="POST" />
                <TextFilter name="route" label="Route" value={scope.route} placeholder="/api/payment" />
                <div class="actions">
                  <button type="submit" class="primary">
                    Find
                  </button>
                </div>
              </div>
              <details class="more" open={scope.hash !== undefined}>
                <summary>By its stored name</summary>
                <div class="filters">
                  <TextFilter name="hash" label="Hash, 64 hexadecimal digits" value={scope.hash} grow />
                  <TextFilter name="tenant" label="Tenant" value={scope.tenant} />
                </div>
              </details>
            </form>
          </search>
        </section>
        {found === undefined ? (
          <div class="card">
            <Empty title="Which key?">
              Give the key as the client sent it, with the route's pattern, the method and the principal: together they
              are its scope. A request's page links to its key.
            </Empty>
          </div>
        ) : found.length === 0 ? (
          <div class="card">
            <Empty title="There is no such key">
              Nobody brought it in that scope, or its window is over. The principal, the method and the route's pattern
              have to be those of the request.
            </Empty>
          </div>
        ) : (
          found.map((key) => <KeyCard key={key.hash} found={key} mayAct={mayAct} />)
        )}
      </div>
    </>
  )
}

function KeyCard({ found, mayAct }: { readonly found: Key; readonly mayAct: boolean }) {
  const { hash, state, lapsed } = found
  return (
    <Card
      title="Key"
      id="found-key"
      aside={
        mayAct && state === 'in_flight' ? (
          <a class="button" href={withFilters('/keys/release', { hash })} data-dialog="">
            Release…
          </a>
        ) : (
          ''
        )
      }
    >
      <dl class="facts">
        <dt>Stored as</dt>
        <dd class="mono">{hash}</dd>
        <dt>State</dt>
        <dd>
          {state === 'completed' ? (
            <Badge tone="good" icon="check">
              answered
            </Badge>
          ) : state === 'corrupt' ? (
            <Badge tone="bad" icon="warn">
              cannot be read
            </Badge>
          ) : lapsed ? (
            <Badge tone="bad" icon="warn">
              under way, and its owner is silent
            </Badge>
          ) : (
            <Badge tone="busy" icon="play">
              under way
            </Badge>
          )}
        </dd>
        <dt>Request</dt>
        <dd>
          {found.request === null ? (
            <span class="muted">not a durable one</span>
          ) : (
            <a class="id" href={`/requests/${found.request}`}>
              {found.request}
            </a>
          )}
        </dd>
        <dt>Owner</dt>
        <dd>{found.owner ?? <span class="muted">nobody now</span>}</dd>
        <dt>Lease</dt>
        <dd>{found.leaseRemainingMs > 0 ? `${period(found.leaseRemainingMs)} left` : 'over'}</dd>
        <dt>Replayed for</dt>
        <dd>{period(found.windowRemainingMs)}</dd>
        <dt>Answer</dt>
        <dd>
          {found.response === null ? (
            <span class="muted">none yet</span>
          ) : (
            `HTTP ${found.response.status}, ${found.response.bytes === null ? 'body not kept' : bytes(found.response.bytes)}`
          )}
        </dd>
      </dl>
    </Card>
  )
}
