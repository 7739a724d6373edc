import type { CheckpointHooks, Outcome, RunRecord } from '@gw/checkpoint'
import { answerInRun, type KeyLink, type RequestDeduplicator, type StoredResponse } from '@gw/dedup'
import type { EventStore } from '@gw/events'
import type { Context } from 'hono'

/** The stores that meet in a durable request's two commits. */
export interface CommitParts {
  readonly idempotency: RequestDeduplicator
  /** Absent where requests leave no audit events. */
  readonly events: EventStore | undefined
  /** Whether the key's record lies in the database of the runs, so that one unit can carry both. */
  readonly keysShareRuns: boolean
  readonly eventsShareRuns: boolean
  /** Whether the payloads of a subject's runs are encrypted with the subject's key: then no key keeps a copy of them. false */
  readonly subjectsSealed?: boolean
  /** The trace that a run goes on in, whoever resumes it. */
  readonly traceparentOf?: (c: Context) => string
}

/**
 * What is added to a run's acceptance and outcome: the claim and the answer of its idempotency key, and its audit events.
 * Where a store is apart, the outcome commits first and `settle` drives the rest from it until it is there.
 */
export function commitHooks({
  idempotency,
  events,
  keysShareRuns,
  eventsShareRuns,
  subjectsSealed = false,
  traceparentOf,
}: CommitParts): CheckpointHooks {
  const kept = (run: RunRecord, outcome: Outcome) =>
    subjectsSealed && run.subject !== undefined ? answerInRun(outcome.status) : answerOf(run, outcome)
  return {
    onAccept(run, unit, c) {
      const claim = c.get('idempotency')?.claim
      if (claim !== undefined && keysShareRuns) idempotency.claimIn(unit, claim, { link: run.id })
      // Where the link does not get there, the key has its lease, and the run settles it all the same.
      else if (claim !== undefined) idempotency.handOver(claim, { link: run.id }).catch(() => {})
      const links = traceparentOf === undefined ? run.links : { ...run.links, traceparent: traceparentOf(c) }
      if (eventsShareRuns) events?.appendIn(unit, 'request_received', requestData(run), about({ ...run, links }))
      if (claim === undefined) return { links }
      return { links: { ...links, key: { key: claim.key, token: claim.token } }, idempotencySeed: claim.key }
    },
    onOutcome(run, outcome, unit) {
      if (eventsShareRuns) events?.appendIn(unit, outcomeType(run), outcomeData(run, outcome), about(run))
      const key = keyOf(run)
      if (key !== undefined && keysShareRuns) idempotency.completeIn(unit, key, kept(run, outcome))
    },
    ...(keysShareRuns && (eventsShareRuns || events === undefined) ? {} : { settle }),
  }

  async function settle(run: RunRecord, outcome: Outcome): Promise<void> {
    const key = keyOf(run)
    if (key !== undefined && !keysShareRuns) await idempotency.complete(key, kept(run, outcome))
    if (eventsShareRuns || events === undefined) return
    await events.append('request_received', requestData(run), { ...about(run), id: `${run.id}:accepted` })
    await events.append(outcomeType(run), outcomeData(run, outcome), { ...about(run), id: `${run.id}:outcome` })
  }
}

function keyOf(run: RunRecord): KeyLink | undefined {
  return run.links['key'] as KeyLink | undefined
}

/** The answer of a run, as its key gives it again. */
export function answerOf(run: RunRecord, { status, headers, body, retained }: Outcome): StoredResponse {
  return { status, headers: [...headers, ['gw-run', run.id] as const], body: retained ? body : undefined }
}

function about(run: RunRecord) {
  const { traceparent } = run.links
  return {
    stream: 'audit',
    actor: run.principal ?? 'anonymous',
    subject: run.id,
    ...(run.requestId === undefined ? {} : { requestId: run.requestId }),
    ...(typeof traceparent === 'string' ? { traceparent } : {}),
  }
}

function requestData(run: RunRecord) {
  return { operation: run.operation, method: run.method, route: run.route, run: run.id }
}

function outcomeType(run: RunRecord) {
  return run.status === 'completed' ? 'operation_completed' : 'operation_failed'
}

function outcomeData(run: RunRecord, outcome: Outcome) {
  const { operation, id, attempt, createdAt, updatedAt } = run
  return { operation, run: id, status: outcome.status, attempt, execution_time_ms: Math.max(0, updatedAt - createdAt) }
}
