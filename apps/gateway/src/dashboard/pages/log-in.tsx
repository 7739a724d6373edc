/** @jsxImportSource hono/jsx */
import { Icon } from '../view/icons.tsx'
import { Document } from '../view/layout.tsx'
import { Note } from '../view/status.tsx'

/** Takes the token once. */
export function LogIn({
  gateway,
  theme,
  next,
  refusal,
}: {
  readonly gateway: string
  readonly theme: 'light' | 'dark' | undefined
  readonly next: string
  readonly refusal?: string
}) {
  return (
    <Document title={`Log in · ${gateway}`} theme={theme}>
      <main class="sign-in">
        <form method="post" action="/login">
          <h1 class="brand">
            <Icon name="mark" size={26} />
            <span>{gateway}</span>
          </h1>
          {refusal === undefined ? (
            ''
          ) : (
            <div role="alert">
              <Note tone="bad">{refusal}</Note>
            </div>
          )}
          <div class="field">
            <label for="token">Admin token</label>
            <input
              id="token"
              name="token"
              type="password"
              required
              autocomplete="current-password"
              spellcheck={false}
              autofocus
              aria-describedby="token-hint"
            />
            <span class="hint" id="token-hint">
              The value of <code>GW_ADMIN_TOKEN</code>, or what the gateway printed when it started and wrote to{' '}
              <code>admin-token</code> in its data directory. A <code>GW_ADMIN_READ_TOKEN</code> lets you look and not
              act.
            </span>
          </div>
          <input type="hidden" name="next" value={next} />
          <button type="submit" class="primary">
            Log in
          </button>
        </form>
      </main>
    </Document>
  )
}
