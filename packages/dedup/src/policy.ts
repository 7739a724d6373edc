import { codeOf } from './errors.ts'

/**
 * Which answers are kept.
 *
 * `deterministic`: 2xx, 3xx and 4xx, but none that says "not now" (401, 407, 408, 409, 421, 423, 425, 429), and 5xx as
 * `onServerError` says. `stripe`: every answer of a handler that began. `success`: 2xx.
 */
export type RecordPolicy = 'deterministic' | 'stripe' | 'success'

/**
 * What a 5xx or a thrown error does to its key. `marked`: it is kept when the handler called `markExecuted()`, and frees the key
 * otherwise. `release`: it frees the key whatever was marked. `store`: it is the key's answer.
 */
export type ServerErrorPolicy = 'marked' | 'release' | 'store'

/** How a request ended. */
export interface Ending {
  readonly status: number
  /** The code of the error that was thrown, or of the problem that was answered. */
  readonly code: string | undefined
  /** What the handler said about its effect. */
  readonly executed: boolean | undefined
}

const notNow: ReadonlySet<number> = new Set([401, 407, 408, 409, 421, 423, 425, 429])

/** Codes that say that the handler's work was turned away before it began: nothing ran. */
const refusedBeforeDispatch: ReadonlySet<string> = new Set([
  'breaker_open',
  'pool_exhausted',
  'overloaded',
  'draining',
  'shed',
  'queue_timeout',
  'bulkhead_full',
])

/** Whether a run that was to settle the key was never accepted, so that nobody will. */
export function isUnaccepted(code: string | undefined): boolean {
  return code === 'storage_unavailable' || code === 'run_not_accepted'
}

/** Whether a request's work was turned away before it began, so that its key is free whatever the policy. */
export function isRefusal({ code, executed }: Ending): boolean {
  return executed !== true && code !== undefined && refusedBeforeDispatch.has(code)
}

/** Whether an answer is kept; its key is freed otherwise. */
export function isKept(ending: Ending, policy: RecordPolicy, onServerError: ServerErrorPolicy): boolean {
  const { status, executed } = ending
  if (isRefusal(ending) || executed === false) return false
  if (policy === 'success') return status >= 200 && status < 300
  if (policy === 'stripe') return true
  if (status >= 500) return onServerError === 'store' || (onServerError === 'marked' && executed === true)
  return !notNow.has(status) || executed === true
}

/** The code of a thrown error, or of a problem+json answer that may be a refusal; only those are read. */
export async function endingCode(response: Response, error: unknown): Promise<string | undefined> {
  const thrown = codeOf(error)
  if (thrown !== undefined || response.status < 429) return thrown
  if (response.headers.get('content-type')?.startsWith('application/problem+json') !== true) return undefined
  try {
    return codeOf(await response.clone().json())
  } catch {
    return undefined
  }
}
