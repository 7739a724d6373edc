/** @jsxImportSource hono/jsx */
import { Hono } from 'hono'
import type { AdminEnv } from '../../admin/visitor.ts'
import { clientOf, type PageServices, Refusal, read } from '../page-context.ts'
import { Confirm } from '../view/confirm.tsx'
import { show } from '../view/shell.tsx'
import { RunBadge } from '../view/status.tsx'
import type { Detail } from './request.tsx'

type ActionName = 'resume' | 'retry' | 'cancel' | 'fork' | 'resolve' | 'signal'

interface Action {
  readonly name: ActionName
  readonly text: string
  /** The statuses in which it makes sense. */
  readonly when: ReadonlySet<string>
}

const open = new Set(['queued', 'running', 'waiting', 'parked'])
const any = new Set([...open, 'completed', 'failed', 'dead', 'cancelled'])
const actions: readonly Action[] = [
  { name: 'resolve', text: 'Resolve…', when: new Set(['parked']) },
  { name: 'signal', text: 'Send signal…', when: new Set(['waiting', 'running']) },
  { name: 'resume', text: 'Resume…', when: new Set(['parked']) },
  { name: 'retry', text: 'Retry now…', when: new Set(['waiting', 'failed', 'dead', 'cancelled']) },
  { name: 'fork', text: 'Fork…', when: any },
  { name: 'cancel', text: 'Cancel…', when: open },
]

/** What may be done to a request of that status. */
export function actionsFor(status: string): readonly Action[] {
  return actions.filter(({ when }) => when.has(status))
}

/** What an action came to, by its name in the address. */
export const doneTexts: Readonly<Record<string, string>> = {
  resume: 'It is queued and goes on from its last kept step.',
  retry: 'It is queued and goes on from its last kept step.',
  cancel: 'It was asked to end. Its kept effects are taken back where their steps say how.',
  fork: 'This is the fork. It is a request of its own and runs now.',
  resolve: 'Your decision is kept, and the request goes on by it.',
  signal: 'The signal is kept. The request gets it where it waits for it.',
}

/** `/requests/{id}/{action}`: each action asks first, and does it on POST. */
export function requestActionRoutes(services: PageServices): Hono<AdminEnv> {
  const app = new Hono<AdminEnv>()
  for (const { name } of actions) {
    app.get(`/requests/:id/${name}`, async (c) => {
      const id = c.req.param('id')
      const client = clientOf(services, c)
      const detail = await read(client.admin.requests[':id'].$get({ param: { id } }))
      const body = name === 'fork' ? await bodyOf(services, id) : undefined
      return show(
        services,
        c,
        { title: titles[name], path: `/requests/${id}/${name}` },
        <Ask name={name} detail={detail} body={body} fromStep={c.req.query('step')} />,
      )
    })
    app.post(`/requests/:id/${name}`, async (c) => {
      const id = c.req.param('id')
      const form = await c.req.formData()
      const field = (field: string) => String(form.get(field) ?? '')
      const { admin } = clientOf(services, c)
      const at = admin.requests[':id']
      let shown = id
      if (name === 'fork') {
        const body = field('body')
        const step = field('fromStep')
        const forked = await read(
          at.fork.$post({
            param: { id },
            json: {
              ...(step === '' ? {} : { fromStep: step }),
              ...(field('edit') === '' ? {} : { body }),
            },
          }),
        )
        shown = forked.request
      } else if (name === 'resolve') await read(at.resolve.$post({ param: { id }, json: decisionOf(field) }))
      else if (name === 'signal')
        await read(
          at.signal.$post({ param: { id }, json: { name: field('name'), value: jsonOf('value', field('value')) } }),
        )
      else await read(at[':action'].$post({ param: { id, action: name } }))
      return c.redirect(`/requests/${shown}?done=${name}`, 303)
    })
  }
  return app
}

const titles: Readonly<Record<ActionName, string>> = {
  resume: 'Resume this request?',
  retry: 'Retry this request now?',
  cancel: 'Cancel this request?',
  fork: 'Fork this request',
  resolve: 'Resolve this request',
  signal: 'Send a signal',
}

const submits: Readonly<Record<ActionName, string>> = {
  resume: 'Resume it',
  retry: 'Retry it now',
  cancel: 'Cancel it',
  fork: 'Start the fork',
  resolve: 'Decide',
  signal: 'Send it',
}

function Ask({
  name,
  detail,
  body,
  fromStep,
}: {
  readonly name: ActionName
  readonly detail: Detail
  readonly body: string | undefined
  readonly fromStep: string | undefined
}) {
  const { request, why } = detail
  const { id, operation, status } = request
  return (
    <Confirm
      title={titles[name]}
      action={`/requests/${id}/${name}`}
      submit={submits[name]}
      back={`/requests/${id}`}
      danger={name === 'cancel'}
      effect={
        <>
          <p>
            <strong>{operation}</strong> <span class="id">{id}</span> <RunBadge status={status} />
          </p>
          <p class="muted">{why.text}</p>
          <p>{effects[name](detail)}</p>
        </>
      }
      fields={
        name === 'fork' ? (
          <ForkFields detail={detail} body={body} fromStep={fromStep} />
        ) : name === 'resolve' ? (
          <ResolveFields detail={detail} />
        ) : name === 'signal' ? (
          <SignalFields detail={detail} />
        ) : (
          ''
        )
      }
    />
  )
}

const effects: Readonly<Record<ActionName, (detail: Detail) => string>> = {
  resume: (detail) => goesOn(detail),
  retry: (detail) => goesOn(detail),
  cancel: ({ request }) =>
    request.status === 'running'
      ? 'Its signal is aborted and it ends at its next step. Kept effects whose steps say how are taken back.'
      : 'It ends at once and does not run again. Kept effects whose steps say how are taken back.',
  fork: () =>
    'A new request begins from this one. This one stays as it is, and effects that it had are not taken back.',
  resolve: () => 'You say what became of what was under way. The request goes on by what you decide.',
  signal: () => 'The signal is kept with the request and given to it when it waits for that name.',
}

function goesOn({ steps }: Detail): string {
  const kept = steps.filter(({ state }) => state === 'kept').length
  return kept === 0
    ? 'It runs from its beginning: no step is kept.'
    : `It runs again behind its ${kept === 1 ? 'kept step' : `${kept} kept steps`}, which ${kept === 1 ? 'is' : 'are'} not run again.`
}

function ForkFields({
  detail,
  body,
  fromStep,
}: {
  readonly detail: Detail
  readonly body: string | undefined
  readonly fromStep: string | undefined
}) {
  const kept = detail.steps.filter(({ state }) => state === 'kept')
  return (
    <>
      <div class="field">
        <label for="fork-step">Runs again from</label>
        <select id="fork-step" name="fromStep">
          <option value="">its beginning: every step runs again</option>
          {kept.map(({ name, occurrence }) => (
            <option value={`${name}#${occurrence}`} selected={fromStep === `${name}#${occurrence}`}>
              {occurrence === 1 ? name : `${name}#${occurrence}`}
            </option>
          ))}
        </select>
      </div>
      {body === undefined ? (
        <p class="muted small">Its body is not text, or not there any more: the fork takes it as it is.</p>
      ) : (
        <>
          <label class="choice" for="fork-edit">
            <input type="checkbox" id="fork-edit" name="edit" value="yes" />
            <span>Run it with the body below instead of its own</span>
          </label>
          <div class="field">
            <label for="fork-body">Body</label>
            <textarea id="fork-body" name="body" spellcheck={false}>
              {body}
            </textarea>
          </div>
        </>
      )}
    </>
  )
}

function ResolveFields({ detail }: { readonly detail: Detail }) {
  const kept = new Set(
    detail.steps.filter(({ state }) => state === 'kept').map(({ name, occurrence }) => `${name}#${occurrence}`),
  )
  const openSteps = detail.steps
    .filter(({ state }) => state === 'started')
    .map(({ name, occurrence }) => `${name}#${occurrence}`)
    .filter((step) => !kept.has(step))
  return (
    <>
      <fieldset>
        <legend>What became of it</legend>
        <label class="choice" for="resolve-rerun">
          <input type="radio" id="resolve-rerun" name="kind" value="rerun" required />
          <span>
            <strong>Nothing happened: run it again.</strong> Goes on behind the last kept step.
          </span>
        </label>
        {openSteps.length === 0 ? (
          ''
        ) : (
          <label class="choice" for="resolve-done">
            <input type="radio" id="resolve-done" name="kind" value="done" />
            <span>
              <strong>It happened: count the step as done.</strong> Its value is the one below.
            </span>
          </label>
        )}
        <label class="choice" for="resolve-restart">
          <input type="radio" id="resolve-restart" name="kind" value="restart" />
          <span>
            <strong>Begin anew.</strong> Forgets every kept step.
          </span>
        </label>
        <label class="choice" for="resolve-fail">
          <input type="radio" id="resolve-fail" name="kind" value="fail" />
          <span>
            <strong>Give it up.</strong> Ends as failed and takes kept effects back, for the reason below.
          </span>
        </label>
      </fieldset>
      {openSteps.length === 0 ? (
        ''
      ) : (
        <>
          <div class="field">
            <label for="resolve-step">Step that is done</label>
            <select id="resolve-step" name="step">
              {openSteps.map((step) => (
                <option value={step}>{step.replace(/#1$/, '')}</option>
              ))}
            </select>
          </div>
          <div class="field">
            <label for="resolve-value">Its value, as JSON</label>
            <input id="resolve-value" name="value" value="null" spellcheck={false} autocomplete="off" />
          </div>
        </>
      )}
      <div class="field">
        <label for="resolve-reason">Reason, where it is given up</label>
        <input id="resolve-reason" name="reason" autocomplete="off" />
      </div>
    </>
  )
}

function SignalFields({ detail }: { readonly detail: Detail }) {
  const awaited = /waits for the signal ([A-Za-z0-9._:-]+)/.exec(detail.request.reason ?? '')?.[1]
  return (
    <>
      <div class="field">
        <label for="signal-name">Name</label>
        <input
          id="signal-name"
          name="name"
          required
          pattern="[A-Za-z0-9._:\-]{1,128}"
          value={awaited ?? ''}
          autocomplete="off"
        />
      </div>
      <div class="field">
        <label for="signal-value">Value, as JSON</label>
        <textarea id="signal-value" name="value" spellcheck={false}>
          null
        </textarea>
      </div>
    </>
  )
}

function decisionOf(field: (name: string) => string) {
  const kind = field('kind')
  if (kind === 'done') return { kind, step: field('step'), value: jsonOf('value', field('value')) } as const
  if (kind === 'fail') return { kind, reason: field('reason') } as const
  if (kind === 'rerun' || kind === 'restart') return { kind } as const
  throw new Refusal(400, 'invalid_body', 'Expected a decision, got none')
}

function jsonOf(name: string, text: string): unknown {
  try {
    return JSON.parse(text.trim() === '' ? 'null' : text)
  } catch {
    throw new Refusal(400, 'invalid_body', `Expected \`${name}\` to be JSON, got \`${text.slice(0, 80)}\``)
  }
}

/** The body as it was sent, where it is text. */
async function bodyOf({ gateway }: PageServices, id: string): Promise<string | undefined> {
  const input = await gateway.checkpoints.store.input(id).catch(() => undefined)
  if (input === undefined || input.body.length > 65_536) return undefined
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(input.body)
    return /[\0]/.test(text) ? undefined : pretty(text)
  } catch {
    return undefined
  }
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text
  }
}
