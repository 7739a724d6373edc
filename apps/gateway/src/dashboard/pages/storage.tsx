/** @jsxImportSource hono/jsx */
import { Hono } from 'hono'
import type { AdminClient } from '../../admin/client.ts'
import type { AdminEnv } from '../../admin/visitor.ts'
import { clientOf, type PageServices, read } from '../page-context.ts'
import { Confirm } from '../view/confirm.tsx'
import { bytes, count, figure } from '../view/format.ts'
import { Card, Empty, PageHead } from '../view/layout.tsx'
import { show } from '../view/shell.tsx'
import { Note, RunBadge, StateBadge, statuses } from '../view/status.tsx'
import { When } from '../view/when.tsx'

const storageOf = (client: AdminClient) => read(client.admin.storage.$get())
type Storage = Awaited<ReturnType<typeof storageOf>>

const asks = {
  collect: {
    title: 'Collect now?',
    submit: 'Collect',
    effect:
      'Finished requests whose time is over are deleted with their payloads. It happens by itself, too; this does it now.',
  },
  backup: {
    title: 'Back up now?',
    submit: 'Back up',
    effect:
      'A consistent copy is written while the gateway goes on: to the cold tier where there is one, else into a file.',
  },
  tier: {
    title: 'Move to the cold tier now?',
    submit: 'Move',
    effect:
      'Payloads of completed requests that are due move to the cold tier. It happens by itself, too; this does it now.',
  },
} as const
type Action = keyof typeof asks

/** `/storage`: what lies where, how much it is, and what is still to be done. */
export function storageRoutes(services: PageServices): Hono<AdminEnv> {
  const app = new Hono<AdminEnv>()
  app.get('/storage', async (c) => {
    const storage = await storageOf(clientOf(services, c))
    const commits = await services.feed.look()
    return show(
      services,
      c,
      { title: 'Storage', path: '/storage', done: doneOf(c.req.query('done'), c.req.query('n')) },
      <StoragePage
        storage={storage}
        commitMs={commits.commitMs}
        commitsPerSecond={commits.commits}
        mayAct={c.var.role === 'operate'}
      />,
    )
  })
  for (const action of Object.keys(asks) as Action[]) {
    app.get(`/storage/${action}`, (c) => {
      const { title, submit, effect } = asks[action]
      return show(
        services,
        c,
        { title, path: '/storage' },
        <Confirm
          title={title}
          action={`/storage/${action}`}
          submit={submit}
          back="/storage"
          effect={<p>{effect}</p>}
        />,
      )
    })
    app.post(`/storage/${action}`, async (c) => {
      const { storage } = clientOf(services, c).admin
      const n =
        action === 'collect'
          ? (await read(storage.collect.$post())).collected
          : action === 'backup'
            ? (await read(storage.backup.$post())).bytes
            : (await read(storage.tier.$post())).moved
      return c.redirect(`/storage?${new URLSearchParams({ done: action, n: String(n) })}`, 303)
    })
  }
  return app
}

function doneOf(done: string | undefined, n = '0') {
  const number = Number(n) || 0
  const texts: Readonly<Record<string, string>> = {
    collect: `${count(number)} finished ${number === 1 ? 'request was' : 'requests were'} deleted.`,
    backup: `The backup is there: ${bytes(number)}.`,
    tier: `${count(number)} ${number === 1 ? 'payload has' : 'payloads have'} moved to the cold tier so far.`,
  }
  const text = texts[done ?? '']
  return text === undefined ? undefined : { tone: 'good' as const, text }
}

const kinds = { memory: 'memory of this process', sqlite: 'SQLite, embedded', postgres: 'PostgreSQL' } as const

function StoragePage({
  storage,
  commitMs,
  commitsPerSecond,
  mayAct,
}: {
  readonly storage: Storage
  readonly commitMs: number | null
  readonly commitsPerSecond: number | null
  readonly mayAct: boolean
}) {
  const { tiers, events } = storage
  const actions: readonly (readonly [Action, string, boolean])[] = [
    ['collect', 'Collect…', true],
    ['backup', 'Back up…', storage.kind === 'sqlite' || tiers !== null],
    ['tier', 'Move to cold tier…', tiers !== null],
  ]
  return (
    <>
      <PageHead title="Storage" lead={kinds[storage.kind]}>
        {mayAct ? (
          <div class="toolbar">
            {actions
              .filter(([, , possible]) => possible)
              .map(([action, text]) => (
                <a class="button" href={`/storage/${action}`} data-dialog="">
                  {text}
                </a>
              ))}
          </div>
        ) : (
          ''
        )}
      </PageHead>
      <gw-live class="stack" topics="events" slow="">
        {storage.state === 'open' ? (
          ''
        ) : (
          <Note tone="bad">
            The storage is {storage.state}
            {storage.reason === null ? '' : `: ${storage.reason}`}
          </Note>
        )}
        <div class="split" id="storage-parts">
          <Card title="Database" aside={<StateBadge good={storage.state === 'open'} text={storage.state} />}>
            <dl class="facts">
              <dt>Size</dt>
              <dd>{storage.databaseBytes === null ? 'not known' : bytes(storage.databaseBytes)}</dd>
              <dt>Writes that wait</dt>
              <dd>{count(storage.pendingWrites)}</dd>
              <dt>Commits</dt>
              <dd>
                {figure(commitsPerSecond)} a second, {figure(commitMs)} ms each; {count(storage.commits)} since the
                start
              </dd>
              <dt>Directory</dt>
              <dd class="mono">{storage.directory}</dd>
            </dl>
          </Card>
          <Card title="Audit trail">
            <dl class="facts">
              <dt>Events</dt>
              <dd>
                #{events.base} to #{events.head}
              </dd>
              <dt>Segments</dt>
              <dd>
                {count(events.segments)}, of them {count(events.archivedSegments)} archived (
                {bytes(events.archivedBytes)})
              </dd>
            </dl>
          </Card>
          <Card title="Requests" flush>
            <table class="grid">
              <thead>
                <tr>
                  <th scope="col">Status</th>
                  <th scope="col" class="number">
                    Requests
                  </th>
                </tr>
              </thead>
              <tbody>
                {statuses.map((status) => (
                  <tr>
                    <th scope="row">
                      <a href={`/requests?status=${status}`}>
                        <RunBadge status={status} />
                      </a>
                    </th>
                    <td class="number">{count(storage.requests[status] ?? 0)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Card>
          <Card title="Files" flush aside={<span class="muted small">of this process</span>}>
            {storage.files.length === 0 ? (
              <Empty title="No file">This process keeps nothing on its disk.</Empty>
            ) : (
              <table class="grid">
                <thead>
                  <tr>
                    <th scope="col">File</th>
                    <th scope="col" class="number">
                      Size
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {storage.files.map((file) => (
                    <tr>
                      <th scope="row" class="mono wrap">
                        {file.name}
                      </th>
                      <td class="number">{bytes(file.bytes)}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            )}
          </Card>
          <Card title="Backups" flush={storage.backups.length > 0}>
            {storage.backups.length === 0 ? (
              <p class="muted">
                {tiers?.backup == null
                  ? 'There is none in a file. “Back up…” writes a consistent copy while the gateway goes on.'
                  : 'They lie in the cold tier, see there.'}
              </p>
            ) : (
              <table class="grid cards">
                <thead>
                  <tr>
                    <th scope="col">Backup</th>
                    <th scope="col" class="number">
                      Size
                    </th>
                    <th scope="col">Made</th>
                  </tr>
                </thead>
                <tbody>
                  {storage.backups.map((each) => (
                    <tr>
                      <th scope="row" class="mono wrap lead-cell">
                        {each.name}
                      </th>
                      <td data-label="Size" class="number">
                        {bytes(each.bytes)}
                      </td>
                      <td data-label="Made">
                        <When at={each.at} />
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            )}
          </Card>
          <Card title="Cold tier">
            {tiers === null ? (
              <p class="muted">
                There is none. With <code>coldTier</code> payloads of completed requests move to S3, and requests are
                backed up there.
              </p>
            ) : (
              <Tiers tiers={tiers} />
            )}
          </Card>
        </div>
      </gw-live>
    </>
  )
}

function Tiers({ tiers: { memory, cold, backup } }: { readonly tiers: NonNullable<Storage['tiers']> }) {
  return (
    <dl class="facts">
      <dt>State</dt>
      <dd>
        <StateBadge good={cold.state === 'ready' || cold.state === 'unknown'} text={cold.state} />
      </dd>
      <dt>Still to move</dt>
      <dd>{count(cold.backlog)}</dd>
      <dt>Moved</dt>
      <dd>{count(cold.moved)}</dd>
      <dt>Failures</dt>
      <dd>
        {count(cold.failures)}
        {cold.lastError === null ? '' : `, the last: ${cold.lastError}`}
      </dd>
      <dt>In memory</dt>
      <dd>
        {count(memory.entries)} payloads, {bytes(memory.bytes)}; {count(memory.hits)} hits, {count(memory.misses)}{' '}
        misses
      </dd>
      <dt>Backed up to</dt>
      <dd>{backup?.cutAt == null ? 'nothing yet' : <When at={backup.cutAt} />}</dd>
      {backup === null ? '' : <dt>Backup</dt>}
      {backup === null ? (
        ''
      ) : (
        <dd>
          {count(backup.runs)} requests in {count(backup.segments)} segments, {bytes(backup.bytes)};{' '}
          {count(backup.pendingRuns)} to go
        </dd>
      )}
    </dl>
  )
}
