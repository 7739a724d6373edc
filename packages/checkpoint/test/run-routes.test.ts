import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { runRoutes } from '../src/index.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { type Handler, processOn } from './fixture.ts'

function served(handler: Handler) {
  const actions: unknown[] = []
  const principal = (c: { req: { header(name: string): string | undefined } }) => c.req.header('x-user')
  const process = processOn(undefined, handler, {}, { principal })
  const app = new Hono()
  app.route(
    '/requests',
    runRoutes({ checkpoints: process.checkpoints, principal, onAction: async (action) => void actions.push(action) }),
  )
  const ask = (path: string, init: RequestInit = {}, user = 'ann') =>
    app.request(`/requests/${path}`, { ...init, headers: { 'x-user': user, ...init.headers } })
  const send = async () => (await process.post({}, { prefer: 'respond-async', 'x-user': 'ann' })).headers.get('gw-run')!
  return { ...process, actions, ask, send }
}

test('checkpoint W1: only the principal that made a run sees it, signals it or cancels it', async () => {
  const { ask, send } = served((run) => run.waitFor('go'))
  const id = await send()
  for (const [path, init] of [
    [id, {}],
    [`${id}/response`, {}],
    [`${id}/events`, {}],
    [id, { method: 'DELETE' }],
    [`${id}/signals/go`, { method: 'POST' }],
  ] as const) {
    const foreign = await ask(path, init, 'bob')
    const missing = await ask(path.replace(id, 'absent'), init, 'bob')
    expect([foreign.status, await foreign.text()]).toEqual([404, await missing.text()])
  }
  expect((await ask(id)).status).toBe(200)
})

test('checkpoint W1, S6: a signal goes on with the run, its answer is there, and a finished one takes neither signal nor cancellation', async () => {
  const { ask, send, actions, outcome } = served((run) => run.waitFor('go'))
  const id = await send()
  expect((await ask(`${id}/response`)).status).toBe(404)
  expect((await ask(`${id}/signals/..%2fx`, { method: 'POST' })).status).toBe(400)
  expect((await ask(`${id}/signals/go`, { method: 'POST', body: '{' })).status).toBe(400)
  expect((await ask(`${id}/signals/go`, { method: 'POST', body: 'x'.repeat(70_000) })).status).toBe(413)
  expect((await ask(`${id}/signals/go`, { method: 'POST', body: '{"ok":true}' })).status).toBe(202)
  await outcome(id)
  const response = await ask(`${id}/response`)
  expect([response.status, await response.json()]).toEqual([201, { result: { ok: true } }])
  for (const [path, method] of [
    [id, 'DELETE'],
    [`${id}/signals/go`, 'POST'],
  ] as const) {
    const late = await ask(path, { method })
    expect([late.status, await late.json()]).toMatchObject([409, { code: 'already_finished', outcomeStatus: 201 }])
  }
  expect(actions).toEqual([{ type: 'signal', run: id, actor: 'ann' }])
})

test('checkpoint W1: the events of a run end with its end, and who comes back with the last id gets only what it missed', async () => {
  const { ask, send } = served(async (run) => {
    await run.step('one', () => 1)
    await run.update({ stage: 'middle', progress: 0.5 })
    await run.step('two', () => 2)
  })
  const id = await send()
  const text = await (await ask(`${id}/events`)).text()
  const events = text
    .split('\n\n')
    .filter((block) => block.startsWith('id:'))
    .map((block) => Object.fromEntries(block.split('\n').map((line) => line.split(/: (.*)/s).slice(0, 2))))
  expect(events.filter(({ event }) => event === 'step').map(({ data }) => JSON.parse(data).name)).toEqual([
    'one',
    'two',
  ])
  expect(JSON.parse(events.at(-1)!['data'])).toMatchObject({ status: 'completed', stage: 'middle' })
  const rest = await (await ask(`${id}/events`, { headers: { 'last-event-id': events.at(-2)!['id'] } })).text()
  expect(rest).toBe(`${text.split('\n\n').at(-2)}\n\n`)
  expect(await (await ask(`${id}/events`, { headers: { 'last-event-id': events.at(-1)!['id'] } })).text()).toBe('')
})

test('checkpoint W1: a stream of events that the store breaks off is open no more', async () => {
  const store = memoryCheckpointStore()
  const { steps } = store
  const { checkpoints, send } = processOn(store, () => new Promise(() => {}))
  const app = new Hono().route('/requests', runRoutes({ checkpoints, maxStreams: 1 }))
  const id = await send()
  for (const _ of [1, 2]) {
    store.steps = () => Promise.reject(new Error('away'))
    const broken = await app.request(`/requests/${id}/events`)
    expect(broken.status).toBe(200)
    await expect(broken.text()).rejects.toThrow('away')
    store.steps = steps
  }
})
