import { newRunId } from './run-id.ts'
import type { RunRecord } from './run-record.ts'

/** What tells one request from another before anything has come of it. */
export type RunRequest = Pick<
  RunRecord,
  'requestId' | 'operation' | 'version' | 'method' | 'route' | 'principal' | 'subject'
>

/** A run as it begins: with an id of its own, nobody's yet, and nothing kept. */
export function queuedRun(request: RunRequest, now: number): RunRecord {
  return {
    requestId: request.requestId,
    operation: request.operation,
    version: request.version,
    method: request.method,
    route: request.route,
    principal: request.principal,
    subject: request.subject,
    id: newRunId(now),
    status: 'queued',
    owner: undefined,
    fence: 0,
    revision: 1,
    attempt: 1,
    recoveries: 0,
    stage: undefined,
    progress: undefined,
    data: undefined,
    reason: undefined,
    wakeAt: undefined,
    cancelRequested: false,
    signals: 0,
    links: {},
    idempotencySeed: undefined,
    settled: false,
    expiresAt: undefined,
    createdAt: now,
    updatedAt: now,
  }
}
