import { encode } from './codec.ts'
import { CheckpointError } from './errors.ts'
import { storableText } from './run-record.ts'
import type { RunPatch } from './store.ts'

/** Where a run is, for people, and fields that are merged into its data. */
export interface RunUpdate {
  readonly stage?: string
  /** 0 to 1. */
  readonly progress?: number
  readonly [field: string]: unknown
}

/** Splits an update into the columns and the data that is merged; throws `invalid_progress` and `not_serializable`. */
export function patchOf({ stage, progress, ...fields }: RunUpdate, updatedAt: number): RunPatch {
  if (stage !== undefined && typeof stage !== 'string')
    throw new CheckpointError('invalid_option', `Expected \`stage\` to be a text, got \`${stage}\``)
  if (progress !== undefined && !(typeof progress === 'number' && progress >= 0 && progress <= 1))
    throw new CheckpointError(
      'invalid_progress',
      `Expected \`progress\` to be a number from 0 to 1, got \`${progress}\``,
    )
  if ('$gw' in fields || Object.hasOwn(fields, '__proto__'))
    throw new CheckpointError('not_serializable', 'Expected no field named `$gw` or `__proto__`')
  return {
    updatedAt,
    ...(stage === undefined ? {} : { stage: storableText(stage) }),
    ...(progress === undefined ? {} : { progress }),
    ...(Object.keys(fields).length > 0 ? { merge: encode(fields) } : {}),
  }
}
