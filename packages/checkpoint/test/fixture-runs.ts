import { randomBytes } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type S3Access, sharedS3 } from '@gw/services'
import { AwsClient } from 'aws4fetch'
import { queuedRun } from '../src/queued-run.ts'
import type { Outcome, RunInput, RunRecord, StepRecord } from '../src/run-record.ts'
import type { CheckpointStore } from '../src/store.ts'
import { type S3CheckpointStoreOptions, s3CheckpointStore } from '../src/stores/s3.ts'
import type { Write } from '../src/unit.ts'

/** A client of `access`, with other credentials where given. */
export function clientOf(access: S3Access, changes: Partial<S3Access> = {}): AwsClient {
  const { accessKeyId, secretAccessKey, region } = { ...access, ...changes }
  return new AwsClient({ accessKeyId, secretAccessKey, region, service: 's3' })
}

/** A cold store in a fresh folder of a bucket that this process has on the shared server. */
export async function freshCold({ prefix = '', ...options }: Partial<S3CheckpointStoreOptions> = {}) {
  const access = await sharedS3()
  bucketOnce ??= (async () => {
    const name = `gw-${randomBytes(8).toString('hex')}`
    await access.createBucket(name)
    return name
  })()
  const bucket = await bucketOnce
  const folder = randomBytes(8).toString('hex')
  const client = clientOf(access)
  const inside = prefix === '' ? folder : `${folder}/${prefix}`
  const place = { client, bucket, prefix: inside, endpoint: access.url }
  return { access, bucket, folder, client, place, cold: s3CheckpointStore({ ...place, ...options }) }
}
let bucketOnce: Promise<string> | undefined

export function freshDirectory(): string {
  return join(mkdtempSync(join(tmpdir(), 'gw-cold-')), 'data')
}

let made = 0

export function recordOf(changes: Partial<RunRecord> = {}): RunRecord {
  made++
  const createdAt = changes.createdAt ?? 1_700_000_000_000 + made
  const request = { requestId: 'r', operation: 'job', version: '1', method: 'POST', route: '/jobs/:kind' } as const
  return {
    ...queuedRun({ ...request, principal: 'ann', subject: undefined }, createdAt),
    status: 'running',
    owner: 'alice/1',
    fence: 1,
    links: { key: 'k' },
    ...changes,
  }
}

export function inputOf(text: string, changes: Partial<RunInput> = {}): RunInput {
  return {
    url: `http://h/jobs/a?q=${text}`,
    headers: [['x-a', text]],
    variables: JSON.stringify({ v: text }),
    body: new TextEncoder().encode(`body ${text}`),
    ...changes,
  }
}

export function stepOf(name: string, changes: Partial<StepRecord> = {}): StepRecord {
  return { name, occurrence: 1, state: 'kept', value: `"${name}"`, attempt: 1, startedAt: 3, keptAt: 4, ...changes }
}

export function outcomeOf(text: string): Outcome {
  return {
    status: 201,
    headers: [
      ['link', `<${text}>`],
      ['link', '<b>'],
    ],
    body: new TextEncoder().encode(`answer ${text}`),
    retained: true,
  }
}

export async function commit<Result = unknown>(store: CheckpointStore, ...writes: readonly Write[]): Promise<Result> {
  const unit = store.unit()
  let last: unknown
  for (const write of writes)
    unit.add(write, (result) => {
      last = result
    })
  await unit.commit()
  return last as Result
}

/** A run that went its whole way through `store`: accepted, two steps, completed and settled at `updatedAt`. */
export async function completedRun(
  store: CheckpointStore,
  text: string,
  changes: Partial<RunRecord> = {},
): Promise<RunRecord> {
  const record = recordOf(changes)
  const held = { id: record.id, fence: record.fence }
  await commit(store, store.accept(record, inputOf(text)))
  await commit(store, store.keep(held, [stepOf('one', { value: JSON.stringify(text) }), stepOf('two')]))
  const { updatedAt } = record
  const ending = { status: 'completed', reason: undefined, outcome: outcomeOf(text), settled: true, updatedAt } as const
  await commit(store, store.finish(held, { ...ending, expiresAt: changes.expiresAt ?? updatedAt + 1_000_000_000 }))
  return (await store.get(record.id))!
}

/** Everything that a store answers about a run. */
export async function wholeOf(store: CheckpointStore, id: string) {
  const [record, input, steps, outcome] = await Promise.all([
    store.get(id),
    store.input(id),
    store.steps(id),
    store.outcome(id),
  ])
  return {
    record,
    input: input && { ...input, body: Buffer.from(input.body) },
    steps,
    outcome: outcome && { ...outcome, body: Buffer.from(outcome.body) },
  }
}

/** Runs `attempt` with its 1st, 2nd, 3rd … call failing, some at once, until one has no such call; resolves to how many there were. */
export async function failingEachCall(attempt: (failing: number) => Promise<boolean>): Promise<number> {
  let next = 1
  let last = Number.POSITIVE_INFINITY
  const work = async () => {
    while (next < last) {
      const failing = next++
      if (!(await attempt(failing))) last = Math.min(last, failing)
    }
  }
  await Promise.all(Array.from({ length: 6 }, work))
  return last - 1
}
