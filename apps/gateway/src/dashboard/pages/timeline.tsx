/** @jsxImportSource hono/jsx */
import { bytes, clock, count, period } from '../view/format.ts'
import type { IconName } from '../view/icons.tsx'
import { Empty } from '../view/layout.tsx'
import { PayloadView, payloadLine } from '../view/payload.tsx'
import { Badge, type Tone } from '../view/status.tsx'
import type { Detail, Payloads } from './request.tsx'

type Step = Detail['steps'][number]

const looks: Readonly<Record<Step['state'], { readonly tone: Tone; readonly icon: IconName; readonly text: string }>> =
  {
    started: { tone: 'busy', icon: 'play', text: 'under way' },
    kept: { tone: 'good', icon: 'check', text: 'kept' },
    signal: { tone: 'calm', icon: 'ring', text: 'signal' },
    unwinding: { tone: 'wait', icon: 'clock', text: 'taking effects back' },
    undone: { tone: 'calm', icon: 'slash', text: 'taken back' },
  }

/** A request may have any number of steps, a page may not. */
const maxShown = 100

/** What the request did, step by step, on the time that it took. */
export function Timeline({ detail, payloads }: { readonly detail: Detail; readonly payloads: Payloads }) {
  const { request } = detail
  const kept = new Set(detail.steps.filter(({ state }) => state === 'kept').map(nameOf))
  // A start mark whose result is kept says nothing more.
  const steps = detail.steps.filter((step) => step.state !== 'started' || !kept.has(nameOf(step)))
  const shown = steps.slice(-maxShown)
  const finished = request.expiresAt !== null
  const end = Math.max(
    finished ? request.updatedAt : Date.now(),
    ...steps.map(({ keptAt }) => keptAt),
    request.createdAt + 1,
  )
  const span = end - request.createdAt
  const values = new Map(payloads.steps.map((each) => [`${each.state} ${nameOf(each)}`, each.value]))
  const keptValue = (step: Step) => values.get(`${step.state} ${nameOf(step)}`)
  if (steps.length === 0)
    return (
      <Empty title="No step is kept">
        {finished
          ? 'Its handler used no run.step(…), so it has no parts that could be shown.'
          : 'The first one shows here as soon as it is kept.'}
      </Empty>
    )
  return (
    <gw-timeline data-from={request.createdAt} data-to={end}>
      <p class="timeline-range muted small">
        <span>{clock(request.createdAt)} UTC, accepted</span>
        <span data-moment="" role="presentation" />
        <span>
          {clock(end)} UTC, {finished ? request.status : 'now'}
        </span>
      </p>
      <div class="scroll">
        <table class="grid cards timeline-table">
          <caption class="visually-hidden">Steps in the order in which they were kept</caption>
          <thead>
            <tr>
              <th scope="col">Step</th>
              <th scope="col">State</th>
              <th scope="col" class="number">
                Attempt
              </th>
              <th scope="col">When</th>
              <th scope="col" class="number">
                After
              </th>
              <th scope="col" class="number">
                Took
              </th>
              <th scope="col">Value</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((step) => (
              <Row
                step={step}
                from={request.createdAt}
                end={end}
                span={span}
                value={keptValue(step)}
                waits={request.status}
              />
            ))}
          </tbody>
        </table>
      </div>
      {shown.length === steps.length ? (
        ''
      ) : (
        <p class="muted small pager">
          The newest {maxShown} of {count(steps.length)} steps are shown; an export has all of them.
        </p>
      )}
    </gw-timeline>
  )
}

function Row({
  step,
  from,
  end,
  span,
  value,
  waits,
}: {
  readonly step: Step
  readonly from: number
  readonly end: number
  readonly span: number
  readonly value: Payloads['steps'][number]['value'] | undefined
  readonly waits: string
}) {
  const open = step.state === 'started'
  const over = open ? end : step.keptAt
  const look =
    open && waits === 'waiting'
      ? { tone: 'wait' as const, icon: 'clock' as const, text: 'waits' }
      : open && waits === 'parked'
        ? { tone: 'wait' as const, icon: 'pause' as const, text: 'outcome not known' }
        : looks[step.state]
  const x = ((step.startedAt - from) / span) * 1_000
  const width = Math.max(4, ((over - step.startedAt) / span) * 1_000)
  return (
    <tr id={`step-${step.state}-${nameOf(step)}`}>
      <th scope="row" class="lead-cell wrap">
        {step.name}
        {step.occurrence === 1 ? '' : <span class="muted">#{step.occurrence}</span>}
      </th>
      <td data-label="State" class="tight">
        <Badge tone={look.tone} icon={look.icon}>
          {look.text}
        </Badge>
      </td>
      <td data-label="Attempt" class="number">
        {step.attempt}
      </td>
      <td class="lane">
        <svg viewBox="0 0 1000 16" preserveAspectRatio="none" aria-hidden="true">
          <rect class="ground" width="1000" height="16" />
          <rect
            class={`span ${look.tone}`}
            x={Math.min(x, 996).toFixed(1)}
            y="3"
            width={width.toFixed(1)}
            height="10"
          />
        </svg>
      </td>
      <td data-label="After" class="number tight">
        {period(Math.max(0, step.startedAt - from))}
      </td>
      <td data-label="Took" class="number tight">
        {open ? `${period(Math.max(0, over - step.startedAt))} so far` : period(Math.max(0, over - step.startedAt))}
      </td>
      <td data-label="Value" class="value-cell">
        {value === undefined || value.kind === 'empty' ? (
          <span class="muted">none</span>
        ) : (
          <details>
            <summary>
              <span class="mono clip-line">{payloadLine(value)}</span>
              <span class="muted small"> {bytes(step.bytes)}</span>
            </summary>
            <PayloadView payload={value} name={`Value of ${step.name}`} />
          </details>
        )}
      </td>
    </tr>
  )
}

function nameOf({ name, occurrence }: { readonly name: string; readonly occurrence: number }): string {
  return `${name}#${occurrence}`
}
