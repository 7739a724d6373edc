/** @jsxImportSource hono/jsx */
import { AdminProblem, adminError } from '../admin/problems.ts'
import { type PageContext, type PageServices, Refusal } from './page-context.ts'
import { Empty, PageHead } from './view/layout.tsx'
import { show } from './view/shell.tsx'
import { Note } from './view/status.tsx'

/** Whether a browser asks for a page. */
export function wantsPage(c: PageContext): boolean {
  return /\btext\/html\b/.test(c.req.header('accept') ?? '')
}

/** Says what could not be done, and that nothing was. */
export function failed(services: PageServices, c: PageContext, error: Error): Response | Promise<Response> {
  const known =
    error instanceof Refusal || error instanceof AdminProblem
      ? { status: error.status, code: error.code, message: error.message }
      : undefined
  if (known === undefined || !wantsPage(c)) return adminError(error, c, (cause) => services.gateway.report(cause))
  const { status, code, message } = known
  if (status === 404) return lost(services, c, message)
  const back = refererOf(c)
  return show(
    services,
    c,
    { title: 'Not done', path: new URL(c.req.url).pathname, status: status as 409 },
    <div class="stack">
      <PageHead title={c.req.method === 'GET' ? 'That does not work' : 'It was not done'} />
      <div role="alert">
        <Note tone="bad">
          <p>{message}</p>
          <p class="muted small">
            {code}, status {status}
          </p>
        </Note>
      </div>
      <p>
        <a class="button" href={back}>
          Go back
        </a>
      </p>
    </div>,
  )
}

/** Says that there is nothing at this address. */
export function lost(services: PageServices, c: PageContext, message = 'There is no page at this address.') {
  return show(
    services,
    c,
    { title: 'Not found', path: new URL(c.req.url).pathname, status: 404 },
    <>
      <PageHead title="Not found" />
      <div class="card">
        <Empty title={message}>
          It may have been collected, or the address is not whole. <a href="/requests">Look through the requests</a>.
        </Empty>
      </div>
    </>,
  )
}

function refererOf(c: PageContext): string {
  const referer = c.req.header('referer')
  if (referer === undefined || !URL.canParse(referer)) return '/'
  const { origin, pathname, search } = new URL(referer)
  return origin === new URL(c.req.url).origin ? pathname + search : '/'
}
