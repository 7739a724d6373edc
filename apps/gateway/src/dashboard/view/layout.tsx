/** @jsxImportSource hono/jsx */
import { html } from 'hono/html'
import { iconUrl, moduleUrl, styleUrl } from '../assets.ts'
import { clock } from './format.ts'
import { Icon, type IconName } from './icons.tsx'
import { Note, type Tone } from './status.tsx'

/** Who looks at a page, and how. */
export interface Visitor {
  readonly role: 'read' | 'operate'
  readonly actor: string
  readonly theme: 'light' | 'dark' | undefined
  /** Whether there is a session that can be ended. */
  readonly session: boolean
}

/** What every page has. */
export interface PageProps {
  readonly gateway: string
  readonly title: string
  readonly path: string
  readonly visitor: Visitor
  /** What an action came to, after it. */
  readonly done?: { readonly tone: Tone; readonly text: string } | undefined
  readonly children?: unknown
}

const sections: readonly (readonly [path: string, title: string, icon: IconName])[] = [
  ['/', 'Overview', 'overview'],
  ['/requests', 'Requests', 'requests'],
  ['/audit', 'Audit trail', 'audit'],
  ['/keys', 'Keys', 'keys'],
  ['/breakers', 'Breakers', 'breakers'],
  ['/pools', 'Pools', 'pools'],
  ['/storage', 'Storage', 'storage'],
  ['/system', 'System', 'system'],
]

/** A whole page around its content. */
export function Page({ gateway, title, path, visitor, done, children }: PageProps) {
  const here = (section: string) =>
    section === '/' ? path === '/' : path === section || path.startsWith(`${section}/`)
  return (
    <Document title={`${title} · ${gateway}`} theme={visitor.theme}>
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <div class="frame">
        <header class="side">
          <a class="brand" href="/">
            <Icon name="mark" size={22} />
            <span>{gateway}</span>
          </a>
          <button type="button" class="menu-button icon" popovertarget="sections" aria-label="Menu">
            <Icon name="menu" />
          </button>
          <nav id="sections" aria-label="Sections" popover="auto">
            <ul>
              {sections.map(([section, name, icon]) => (
                <li>
                  <a href={section} aria-current={here(section) ? 'page' : undefined}>
                    <Icon name={icon} />
                    {name}
                  </a>
                </li>
              ))}
            </ul>
          </nav>
          <div class="side-foot">
            <gw-connection class="connection" data-state="still" role="status">
              <span class="dot" aria-hidden="true" />
              <span class="words">As of {clock(Date.now())} UTC</span>
            </gw-connection>
            <span class="who">
              {visitor.actor} · {visitor.role === 'operate' ? 'may act' : 'may look'}
            </span>
            <form method="post" action="/preferences">
              <input type="hidden" name="back" value={path} />
              <button
                type="submit"
                class="icon"
                name="theme"
                value={visitor.theme === 'dark' ? 'light' : visitor.theme === 'light' ? 'system' : 'dark'}
                aria-label={`Colours: ${visitor.theme ?? 'as the system'}. Change`}
                title={`Colours: ${visitor.theme ?? 'as the system'}`}
              >
                <Icon name="theme" />
              </button>
              {visitor.session ? (
                <button type="submit" class="icon" formaction="/logout" aria-label="Log out" title="Log out">
                  <Icon name="leave" />
                </button>
              ) : (
                ''
              )}
            </form>
          </div>
        </header>
        <main id="main" tabindex={-1}>
          <div class="lost" id="lost" role="alert" hidden>
            <Note tone="bad">
              <strong>The gateway does not answer.</strong> What is shown is as it was; this page reconnects by itself.
            </Note>
          </div>
          {done === undefined ? (
            ''
          ) : (
            <div class="lost" role="status">
              <Note tone={done.tone}>{done.text}</Note>
            </div>
          )}
          {children}
        </main>
      </div>
    </Document>
  )
}

/** The document around a page or a form. */
export function Document({
  title,
  theme,
  children,
}: {
  readonly title: string
  readonly theme: 'light' | 'dark' | undefined
  readonly children?: unknown
}) {
  const page = (
    <html lang="en" data-theme={theme}>
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>{title}</title>
        <link rel="icon" type="image/svg+xml" href={iconUrl} />
        <link rel="stylesheet" href={styleUrl} />
        <script type="module" src={moduleUrl} />
      </head>
      <body>{children}</body>
    </html>
  )
  return html`<!DOCTYPE html>${page}`
}

/** The head of a page: its name, what it is for, and what can be done. */
export function PageHead({
  title,
  lead,
  children,
}: {
  readonly title: string
  readonly lead?: unknown
  readonly children?: unknown
}) {
  return (
    <div class="page-head">
      <div>
        <h1>{title}</h1>
        {lead === undefined ? '' : <p class="lead">{lead}</p>}
      </div>
      {children}
    </div>
  )
}

/** A titled area of a page. */
export function Card({
  title,
  aside,
  flush = false,
  id,
  children,
}: {
  readonly title: string
  readonly aside?: unknown
  /** Whether its content brings its own edges, as a table does. */
  readonly flush?: boolean
  readonly id?: string
  readonly children?: unknown
}) {
  return (
    <section class={flush ? 'card flush' : 'card'} id={id} aria-label={title}>
      <div class="card-head">
        <h2>{title}</h2>
        {aside ?? ''}
      </div>
      {flush ? children : <div class="card-body">{children}</div>}
    </section>
  )
}

/** What stands where there is nothing yet, and what to do about it. */
export function Empty({ title, children }: { readonly title: string; readonly children?: unknown }) {
  return (
    <div class="empty">
      <strong>{title}</strong>
      <div>{children}</div>
    </div>
  )
}
