/** @jsxImportSource hono/jsx */
import { type PageContext, type PageServices, visitorOf } from '../page-context.ts'
import { Page, type PageProps } from './layout.tsx'

/** Answers with a page around its content, for whoever asks. */
export function show(
  services: PageServices,
  c: PageContext,
  {
    title,
    path,
    done,
    status = 200,
  }: Pick<PageProps, 'title' | 'path' | 'done'> & { readonly status?: 200 | 404 | 409 },
  content: unknown,
): Response | Promise<Response> {
  return c.html(
    <Page gateway={services.gateway.title} title={title} path={path} visitor={visitorOf(c)} done={done}>
      {content}
    </Page>,
    status,
  )
}
