/** @jsxImportSource hono/jsx */
import { bytes } from './format.ts'

/** A payload as the admin API shows it. */
export interface Payload {
  readonly bytes: number
  readonly kind: 'json' | 'text' | 'binary' | 'empty'
  readonly value?: unknown
  readonly cut: boolean
}

/** A payload with its size; what is secret comes masked. */
export function PayloadView({ payload, name }: { readonly payload: Payload; readonly name: string }) {
  const { kind, value, cut } = payload
  const about = [name, ...(kind === 'empty' ? [] : [kind]), bytes(payload.bytes)].join(', ')
  return (
    <div class="payload-view">
      <p class="muted small">
        {kind === 'empty' ? `${name}: empty` : about}
        {cut ? ', shortened' : ''}
      </p>
      {kind === 'empty' ? (
        ''
      ) : kind === 'binary' ? (
        <p class="muted">Bytes that are no text are not shown.</p>
      ) : value === null && cut ? (
        <p class="muted">It is too long to be shown. Export the request to have it whole.</p>
      ) : (
        <section class="payload" tabindex={0} aria-label={about}>
          <pre>{textOf(kind, value)}</pre>
        </section>
      )}
    </div>
  )
}

/** A payload in one line, for a row. */
export function payloadLine({ kind, value }: Payload): string {
  if (kind === 'empty') return ''
  if (kind === 'binary') return 'bytes'
  const text = textOf(kind, value).replaceAll(/\s+/g, ' ')
  return text.length > 160 ? `${text.slice(0, 160)}…` : text
}

function textOf(kind: Payload['kind'], value: unknown): string {
  return kind === 'json' ? (JSON.stringify(value, null, 2) ?? 'null') : String(value)
}
