import { type Context, Hono } from 'hono'
import { CheckpointError } from './errors.ts'
import type { CheckpointManager } from './manager.ts'
import { invalid } from './manager-options.ts'
import { boundedBytes } from './pieces.ts'
import { problem } from './problem.ts'
import type { RunRecord } from './run-record.ts'

/** How the routes of runs know who is asking. */
export interface RunRoutesOptions {
  readonly checkpoints: CheckpointManager
  /** Who is asking; the same as for `durable()`. Only the principal that made a run sees it. */
  readonly principal?: (c: Context) => string | undefined
  /** Called after a client cancelled a run or sent it a signal, before it is answered; what it throws is answered instead. */
  readonly onAction?: (action: {
    readonly type: 'cancel' | 'signal'
    readonly run: string
    readonly actor: string
  }) => Promise<void>
  /** Bytes that a signal may bring: 64 KiB. */
  readonly maxSignalBytes?: number
  /** Streams of events that may be open at once: 1,000. */
  readonly maxStreams?: number
}

const known: ReadonlySet<string> = new Set(['checkpoints', 'principal', 'onAction', 'maxSignalBytes', 'maxStreams'])
const signalName = /^[A-Za-z0-9._:-]{1,128}$/

/**
 * Makes an app to mount at `/requests`: a run's status, answer, events and signals, and its cancellation. Anyone but the principal
 * that made a run gets the 404 of one that is not there.
 */
export function runRoutes(options: RunRoutesOptions): Hono {
  for (const name of Object.keys(options))
    if (!known.has(name)) throw new CheckpointError('invalid_option', `Unknown option \`${name}\``)
  const { checkpoints, principal, onAction, maxSignalBytes = 65_536, maxStreams = 1_000 } = options
  for (const [name, value] of Object.entries({ maxSignalBytes, maxStreams }))
    if (!(Number.isInteger(value) && value > 0)) throw invalid(name, 'a whole number above 0', value)
  const app = new Hono()
  let streams = 0
  const own = async (c: Context): Promise<RunRecord | undefined> => {
    await checkpoints.start()
    const run = await checkpoints.get(c.req.param('id') ?? '')
    return run !== undefined && run.principal === principal?.(c) ? run : undefined
  }
  const actorOf = (c: Context) => principal?.(c) ?? 'anonymous'

  app.get('/:id', async (c) => {
    const run = await own(c)
    return run === undefined ? absent() : c.json({ ...statusOf(run), steps: await checkpoints.steps(run.id) })
  })

  app.get('/:id/response', async (c) => {
    const run = await own(c)
    if (run === undefined) return absent()
    const response = await checkpoints.response(run.id)
    return (
      response ??
      problem(
        404,
        'not_finished',
        'The request has no answer yet',
        { 'retry-after': '1' },
        { requestStatus: run.status },
      )
    )
  })

  app.get('/:id/events', async (c) => {
    const run = await own(c)
    if (run === undefined) return absent()
    if (streams >= maxStreams)
      return problem(503, 'too_many_streams', 'As many event streams are open as may be', { 'retry-after': '5' })
    const after = c.req.header('last-event-id')
    streams++
    const body = eventStream(checkpoints, run.id, after, () => streams--)
    return new Response(body, {
      headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' },
    })
  })

  app.delete('/:id', async (c) => {
    const run = await own(c)
    if (run === undefined) return absent()
    const actor = actorOf(c)
    try {
      const status = await checkpoints.cancel(run.id, { actor })
      await onAction?.({ type: 'cancel', run: run.id, actor })
      return c.json({ id: run.id, status }, 202)
    } catch (error) {
      return alreadyFinished(checkpoints, run.id, error)
    }
  })

  app.post('/:id/signals/:name', async (c) => {
    const run = await own(c)
    if (run === undefined) return absent()
    const name = c.req.param('name')
    if (!signalName.test(name))
      return problem(400, 'invalid_signal', 'Expected the name of a signal to be 1 to 128 of A-Z a-z 0-9 . _ : -')
    const text = await boundedText(c.req.raw, maxSignalBytes)
    if (text === undefined) return problem(413, 'body_too_large', `The body is longer than ${maxSignalBytes} bytes`)
    let value: unknown
    try {
      value = text === '' ? null : JSON.parse(text)
    } catch {
      return problem(400, 'malformed_json', 'Expected the body to be JSON, or empty')
    }
    const actor = actorOf(c)
    try {
      await checkpoints.signal(run.id, name, value, { actor })
      await onAction?.({ type: 'signal', run: run.id, actor })
      return c.json({ id: run.id, signal: name }, 202)
    } catch (error) {
      return alreadyFinished(checkpoints, run.id, error)
    }
  })
  return app
}

function absent(): Response {
  return problem(404, 'not_found', 'There is no such request')
}

function statusOf(run: RunRecord) {
  const { id, operation, status, stage, progress, reason, attempt, recoveries, createdAt, updatedAt } = run
  return {
    id,
    operation,
    status,
    stage: stage ?? null,
    progress: progress ?? null,
    reason: reason ?? null,
    attempt,
    recoveries,
    created_at: new Date(createdAt).toISOString(),
    updated_at: new Date(updatedAt).toISOString(),
  }
}

async function alreadyFinished(checkpoints: CheckpointManager, id: string, error: unknown): Promise<Response> {
  if (!(error instanceof Error && 'code' in error && error.code === 'already_finished')) throw error
  const [run, outcome] = await Promise.all([checkpoints.get(id), checkpoints.outcome(id)])
  const members = { requestStatus: run?.status, ...(outcome === undefined ? {} : { outcomeStatus: outcome.status }) }
  return problem(409, 'already_finished', 'The request is finished', { location: `/requests/${id}/response` }, members)
}

/** Server-sent events (WHATWG HTML §9.2); a comment every 15 s keeps proxies from closing an idle stream. */
function eventStream(
  checkpoints: CheckpointManager,
  id: string,
  after: string | undefined,
  closed: () => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  const ended = new AbortController()
  const events = checkpoints
    .watch(id, { signal: ended.signal, ...(after === undefined ? {} : { after }) })
    [Symbol.asyncIterator]()
  const { timers } = checkpoints
  let beat: unknown
  const end = () => {
    if (beat === undefined) return
    timers.clearTimeout(beat)
    beat = undefined
    closed()
  }
  return new ReadableStream<Uint8Array>({
    start(controller) {
      const beatLater = () => {
        beat = timers.setTimeout(() => {
          if ((controller.desiredSize ?? 0) > 0) controller.enqueue(encoder.encode(':\n\n'))
          beatLater()
        }, 15_000)
      }
      beatLater()
    },
    async pull(controller) {
      const { done, value } = await events.next().catch((error: unknown) => {
        end()
        throw error
      })
      if (done) {
        end()
        controller.close()
        return
      }
      const data = value.type === 'step' ? value.step : value.status
      controller.enqueue(encoder.encode(`id: ${value.id}\nevent: ${value.type}\ndata: ${JSON.stringify(data)}\n\n`))
    },
    cancel() {
      ended.abort()
      end()
    },
  })
}

async function boundedText(request: Request, maxBytes: number): Promise<string | undefined> {
  if (Number(request.headers.get('content-length') ?? 0) > maxBytes) return undefined
  const bytes = request.body === null ? new Uint8Array() : await boundedBytes(request.body, maxBytes)
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes)
}
