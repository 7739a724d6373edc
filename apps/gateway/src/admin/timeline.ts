import type { RunRecord, StepRecord } from '@gw/checkpoint'
import type { EventRecord } from '@gw/events'
import { z } from '@hono/zod-openapi'

/** One thing that happened to a request. */
export const Moment = z
  .object({
    at: z.number().openapi({ description: 'Milliseconds since 1970' }),
    kind: z.enum(['accepted', 'step', 'signal', 'taken_over', 'waits', 'parked', 'interrupted', 'action', 'finished']),
    text: z.string(),
    durationMs: z.number().nullable(),
  })
  .openapi('Moment')

export type Moment = z.infer<typeof Moment>

const stepTexts: Readonly<Record<StepRecord['state'], (step: string, attempt: number) => string>> = {
  started: (step) => `${step} was begun`,
  kept: (step, attempt) => `${step} is kept${attempt > 1 ? `, at attempt ${attempt}` : ''}`,
  signal: (step) => `the signal ${step} came`,
  unwinding: () => 'its effects are to be taken back',
  undone: (step) => `${step} was taken back`,
}

/** What happened to a request, in the order of time: its steps, its waits, who ran it, and what people did. */
export function timelineOf(run: RunRecord, steps: readonly StepRecord[], events: readonly EventRecord[]): Moment[] {
  const kept = new Set(steps.filter(({ state }) => state === 'kept').map(nameOf))
  const moments = [
    moment(run.createdAt, 'accepted', `accepted as ${run.operation}, version ${run.version}`),
    // A start mark whose result is kept says nothing more.
    ...steps.filter((step) => step.state !== 'started' || !kept.has(nameOf(step))).map(stepMoment),
    ...events.flatMap(eventMoment),
  ]
  return moments.sort((a, b) => a.at - b.at)
}

function stepMoment(step: StepRecord): Moment {
  const { state, attempt, startedAt, keptAt } = step
  const text = stepTexts[state](nameOf(step), attempt)
  const took = state === 'kept' || state === 'undone' ? Math.max(0, keptAt - startedAt) : null
  return { ...moment(keptAt || startedAt, state === 'signal' ? 'signal' : 'step', text), durationMs: took }
}

function eventMoment({ type, time, occurredAt, actor, data }: EventRecord): Moment[] {
  const at = occurredAt ?? Date.parse(time)
  const said = (typeof data === 'object' && data !== null ? data : {}) as Readonly<Record<string, unknown>>
  const reason = typeof said['reason'] === 'string' ? said['reason'] : 'the reason is with the request'
  switch (type) {
    case 'request_received':
      return []
    case 'checkpoint.resumed':
      return [
        moment(
          at,
          'taken_over',
          `run by ${said['owner'] ?? 'another owner'}, attempt ${said['attempt']}, takeover ${said['recoveries']}`,
        ),
      ]
    case 'checkpoint.waiting': {
      const until = typeof said['wakeAt'] === 'number' ? `, until ${new Date(said['wakeAt']).toISOString()}` : ''
      return [moment(at, 'waits', `waits: ${reason}${until}`)]
    }
    case 'checkpoint.parked':
      return [moment(at, 'parked', `parked: ${reason}`)]
    case 'checkpoint.lease_lost':
    case 'checkpoint.interrupted':
      return [moment(at, 'interrupted', `${said['owner'] ?? 'its owner'} runs it no longer`)]
    case 'operation_completed':
    case 'operation_failed':
      return [moment(at, 'finished', `answered with ${said['status']}`)]
    case 'admin.refused':
      return [moment(at, 'action', `${actor}: ${said['action']} was refused, ${said['code']}`)]
    default:
      return type.startsWith('checkpoint.')
        ? [moment(at, 'action', `${actor}: ${type.slice('checkpoint.'.length)}`)]
        : []
  }
}

function moment(at: number, kind: Moment['kind'], text: string): Moment {
  return { at, kind, text, durationMs: null }
}

function nameOf({ name, occurrence }: StepRecord): string {
  return `${name}#${occurrence}`
}
