/** @jsxImportSource hono/jsx */
import type { EventRecord } from '@gw/events'
import { Hono } from 'hono'
import type { AdminClient } from '../../admin/client.ts'
import type { AdminEnv } from '../../admin/visitor.ts'
import { clientOf, type PageContext, type PageServices, Refusal, read } from '../page-context.ts'
import { Card, PageHead } from '../view/layout.tsx'
import { show } from '../view/shell.tsx'
import { Note } from '../view/status.tsx'
import { When } from '../view/when.tsx'
import { Subject } from './event-table.tsx'

const prove = (client: AdminClient, position: string) => read(client.admin.events.proof.$get({ query: { position } }))
type Proof = Awaited<ReturnType<typeof prove>>

/** `/audit/{position}`: one event, and what proves that it is in the log. */
export function eventRoutes(services: PageServices): Hono<AdminEnv> {
  const app = new Hono<AdminEnv>()
  app.get('/audit/:position{[0-9]+}', async (c) => {
    const event = await eventAt(services, c)
    return show(
      services,
      c,
      { title: `Event #${event.position}`, path: `/audit/${event.position}` },
      <EventPage event={event} />,
    )
  })
  app.get('/audit/:position{[0-9]+}/proof', async (c) => {
    const event = await eventAt(services, c)
    const proof = await prove(clientOf(services, c), event.position)
    return show(
      services,
      c,
      { title: `Proof of event #${event.position}`, path: `/audit/${event.position}/proof` },
      <ProofPage event={event} proof={proof} />,
    )
  })
  return app
}

async function eventAt({ gateway: { events } }: PageServices, c: PageContext): Promise<EventRecord> {
  const text = c.req.param('position') ?? ''
  await events.start()
  const position = text.length > 19 ? 0n : BigInt(text)
  const [event] = position === 0n ? [] : await events.readStored({ after: position - 1n, asOf: position, limit: 1 })
  if (event === undefined) throw new Refusal(404, 'not_found', `There is no event #${text}, or retention took it.`)
  return events.recordOf(event)
}

function EventPage({ event }: { readonly event: EventRecord }) {
  const { position } = event
  const at = BigInt(position)
  return (
    <div class="stack">
      <div>
        <p class="crumb">
          <a href="/audit">Audit trail</a> / #{position}
        </p>
        <PageHead title={event.type} lead={<When at={Date.parse(event.time)} />}>
          <div class="toolbar">
            {at > 1n ? (
              <a class="button" href={`/audit/${at - 1n}`}>
                Before
              </a>
            ) : (
              ''
            )}
            <a class="button" href={`/audit/${at + 1n}`}>
              After
            </a>
            <a class="button" href={`/audit/${position}/proof`}>
              Prove it
            </a>
          </div>
        </PageHead>
      </div>
      <div class="wide-left">
        <Card title="Data" id="data">
          <section class="payload" tabindex={0} aria-label="Data of the event">
            <pre>{JSON.stringify(event.data, null, 2)}</pre>
          </section>
        </Card>
        <Card title="Facts" id="facts">
          <dl class="facts">
            <dt>Position</dt>
            <dd>#{position}</dd>
            <dt>Actor</dt>
            <dd>{event.actor ?? <span class="muted">the gateway</span>}</dd>
            <dt>Subject</dt>
            <dd>
              <Subject subject={event.subject} />
            </dd>
            <dt>Stream</dt>
            <dd>
              {event.stream}, version {event.version}
            </dd>
            {event.requestId === null ? '' : <dt>X-Request-ID</dt>}
            {event.requestId === null ? '' : <dd class="mono">{event.requestId}</dd>}
            {event.causationId === null ? '' : <dt>Caused by</dt>}
            {event.causationId === null ? '' : <dd class="mono">{event.causationId}</dd>}
            <dt>Id</dt>
            <dd class="mono">{event.id}</dd>
            <dt>Hash</dt>
            <dd class="mono">{event.hash}</dd>
          </dl>
        </Card>
      </div>
    </div>
  )
}

function ProofPage({ event, proof }: { readonly event: EventRecord; readonly proof: Proof }) {
  const { position } = event
  return (
    <div class="stack">
      <div>
        <p class="crumb">
          <a href="/audit">Audit trail</a> / <a href={`/audit/${position}`}>#{position}</a> / proof
        </p>
        <PageHead title={`Proof of event #${position}`}>
          <div class="toolbar">
            <a class="button" href={`/admin/events/proof?position=${position}`} download={`proof-${position}.json`}>
              Download
            </a>
          </div>
        </PageHead>
      </div>
      <Note tone="good">
        The event is in the log of {proof.inclusion?.size ?? '?'} events that the checkpoint below vouches for. Whoever
        has the public key can check that without this gateway.
      </Note>
      <div class="wide-left">
        <Card title="Signed checkpoint" id="checkpoint">
          <pre class="payload">{proof.checkpoint}</pre>
        </Card>
        <Card title="Public key" id="verifier">
          <p class="mono wrap">{proof.verifier}</p>
          <p class="muted small">Keep it, and a checkpoint, where nobody who runs the gateway can change them.</p>
        </Card>
      </div>
      <Card title={`Path from the event to the root, ${proof.inclusion?.path.length ?? 0} hashes`} id="path">
        <section class="payload" tabindex={0} aria-label="Hashes of the path">
          <pre>{proof.inclusion?.path.join('\n') ?? ''}</pre>
        </section>
      </Card>
    </div>
  )
}
