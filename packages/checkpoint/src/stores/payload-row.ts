import { crcOf } from '../crc32.ts'
import { CheckpointError } from '../errors.ts'
import type { Outcome, RunInput, StepRecord, StepState } from '../run-record.ts'

/** Payload rows of a run: its input first, its outcome last, its steps between in the order they were kept. */
export const inputSeq = 0
export const outcomeSeq = 9_007_199_254_740_000

/** A payload as it is stored, apart from the run's row. */
export interface PayloadRow {
  readonly run: string
  readonly seq: number
  readonly kind: 'input' | 'outcome' | StepState
  /** Everything but the bytes, as JSON. */
  readonly head: string
  readonly body: Uint8Array | string
  readonly crc: number
}

/** The row of a payload, with its CRC. */
export function payloadRow(
  run: string,
  seq: number,
  kind: PayloadRow['kind'],
  head: object,
  body: Uint8Array | string,
): PayloadRow {
  const text = JSON.stringify(head)
  return { run, seq, kind, head: text, body, crc: crcOf([run, seq, kind, text, body]) }
}

export function inputRow(run: string, { body, ...head }: RunInput): PayloadRow {
  return payloadRow(run, inputSeq, 'input', head, body)
}

export function outcomeRow(run: string, { body, ...head }: Outcome): PayloadRow {
  return payloadRow(run, outcomeSeq, 'outcome', head, body)
}

export function stepRow(run: string, seq: number, { value = '', state, ...head }: StepRecord): PayloadRow {
  return payloadRow(run, seq, state, head, value)
}

/** The row as it was given, or `corrupt_record`. */
export function checkedPayload(row: PayloadRow): PayloadRow {
  if (crcOf([row.run, row.seq, row.kind, row.head, row.body]) !== row.crc)
    throw new CheckpointError('corrupt_record', `A payload of run ${row.run} is damaged (${row.kind})`)
  return row
}

export function inputOf(row: PayloadRow): RunInput {
  return { ...JSON.parse(checkedPayload(row).head), body: row.body }
}

export function outcomeOf(row: PayloadRow): Outcome {
  return { ...JSON.parse(checkedPayload(row).head), body: row.body }
}

export function stepOf(row: PayloadRow): StepRecord {
  const { body, head, kind } = checkedPayload(row)
  return { ...JSON.parse(head), state: kind, value: body === '' ? undefined : body }
}
