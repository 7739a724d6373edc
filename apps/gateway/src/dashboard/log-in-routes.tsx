/** @jsxImportSource hono/jsx */
import { type Context, Hono } from 'hono'
import { deleteCookie, getCookie, setCookie } from 'hono/cookie'
import { type Authentication, sessionCookie } from '../admin/authentication.ts'
import type { AdminEnv } from '../admin/visitor.ts'
import type { Gateway } from '../gateway.ts'
import { pageHeaders } from './headers.ts'
import { samePage, themeCookie, themeOf } from './page-context.ts'
import { LogIn } from './pages/log-in.tsx'

/** What is open to everybody: the log-in, and the way there for whoever is not known. */
export interface LogInRoutes {
  readonly open: Hono<AdminEnv>
  /** Sends a browser that wants a page to the log-in; anything else gets the refusal. */
  stranger(c: Context, refusal: Response): Response
}

/** The log-in takes the token once and gives the browser a session, which no script can read and no other site can use. */
export function logInRoutes(gateway: Gateway, authentication: Authentication): LogInRoutes {
  const open = new Hono<AdminEnv>()
  open.use('/login', pageHeaders())

  open.get('/login', (c) =>
    c.html(<LogIn gateway={gateway.title} theme={themeOf(c)} next={samePage(c.req.query('next') ?? '/')} />),
  )
  open.post('/login', async (c) => {
    const form = await c.req.formData()
    const next = samePage(String(form.get('next') ?? '/'))
    const answer = authentication.logIn(c, String(form.get('token') ?? '').trim())
    if (answer !== undefined && 'session' in answer) {
      setCookie(c, sessionCookie, answer.session, {
        path: '/',
        httpOnly: true,
        sameSite: 'Strict',
        secure: isSecure(c),
      })
      return c.redirect(next, 303)
    }
    const refusal =
      answer === undefined
        ? 'That is not the token of this gateway.'
        : `Too many wrong tokens came from your address. Try again in ${Math.ceil(answer.wait / 1_000)} s.`
    return c.html(
      <LogIn gateway={gateway.title} theme={themeOf(c)} next={next} refusal={refusal} />,
      answer === undefined ? 401 : 429,
      answer === undefined ? {} : { 'retry-after': String(Math.ceil(answer.wait / 1_000)) },
    )
  })
  open.post('/logout', (c) => {
    authentication.sessions.end(getCookie(c, sessionCookie) ?? '')
    deleteCookie(c, sessionCookie, { path: '/' })
    return c.redirect('/login', 303)
  })
  open.post('/preferences', async (c) => {
    const form = await c.req.formData()
    const theme = String(form.get('theme'))
    const kept = { path: '/', sameSite: 'Strict', secure: isSecure(c), maxAge: 31_536_000 } as const
    if (theme === 'light' || theme === 'dark') setCookie(c, themeCookie, theme, kept)
    else deleteCookie(c, themeCookie, { path: '/' })
    return c.redirect(samePage(String(form.get('back') ?? '/')), 303)
  })

  return {
    open,
    stranger(c, refusal) {
      const wantsPage = c.req.method === 'GET' && /\btext\/html\b/.test(c.req.header('accept') ?? '')
      if (!wantsPage || c.req.header('authorization') !== undefined) return refusal
      const { pathname, search } = new URL(c.req.url)
      return c.redirect(pathname === '/' ? '/login' : `/login?next=${encodeURIComponent(pathname + search)}`, 303)
    },
  }
}

function isSecure(c: Context): boolean {
  return new URL(c.req.url).protocol === 'https:'
}
