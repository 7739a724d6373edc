/** @jsxImportSource hono/jsx */
import { type Ground, type PageContext, visitorOf } from '../ground.ts'
import { Page, type PageProps } from './layout.tsx'

/** Answers with a page around its content, for whoever asks. */
export function show(
  ground: Ground,
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
    <Page gateway={ground.gateway.title} title={title} path={path} visitor={visitorOf(c)} done={done}>
      {content}
    </Page>,
    status,
  )
}
