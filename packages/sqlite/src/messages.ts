import type { SqliteErrorCode } from './errors.ts'

/** What the writer thread starts with. The last three exist for fault tests. */
export interface WriterData {
  readonly file: string
  readonly maxPages: number | undefined
  /** The commit that fails as a failed sync does, counted from 1. */
  readonly failCommit: number | undefined
  /** How many times the disk is too full for moving the log into the file. */
  readonly fullCheckpoints: number | undefined
}

/** What the backup thread starts with. */
export interface BackupData {
  readonly file: string
  /** The copy, which is not there yet. */
  readonly into: string
}

/** A unit as it crosses the threads: procedure number (`~number` where nobody takes its result), arguments, and so on. */
export type UnitMessage = readonly unknown[]

/** Units that share one transaction; `sync` when at least one of them wants the disk. */
export interface BatchMessage {
  readonly type: 'batch'
  readonly sync: boolean
  readonly units: readonly UnitMessage[]
}

/** What the writer thread is told. */
export type ToWriter =
  | BatchMessage
  | { readonly type: 'procedure'; readonly id: number; readonly name: string }
  | { readonly type: 'migrate'; readonly id: number; readonly owner: string; readonly migrations: readonly string[] }
  | { readonly type: 'close'; readonly id: number }

/** How one unit, or one request, failed. */
export interface Failed {
  readonly code: SqliteErrorCode
  readonly message: string
  readonly reason?: unknown
}

/** How one unit, or one request, ended: with the results of its procedures, or with a code. */
export type Answer = readonly unknown[] | Failed

/** Whether an answer is that of a failure. */
export function isFailed(answer: Answer): answer is Failed {
  return !Array.isArray(answer)
}

/** What the writer thread says. `failed` is final. */
export type FromWriter =
  | { readonly type: 'ready' }
  | { readonly type: 'answers'; readonly answers: readonly Answer[] }
  | { readonly type: 'answer'; readonly id: number; readonly answer: Answer }
  | { readonly type: 'failed'; readonly message: string }
