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
export function payloadRow(run: string, seq: number, kind: PayloadRow['kind'], [head, body]: Payload): PayloadRow {
  return { run, seq, kind, head, body, crc: crcOf([run, seq, kind, head, body]) }
}

/** A payload on its way to its row: two values cross threads at less cost than an object. */
export type Payload = readonly [head: string, body: Uint8Array | string]

export function inputPayload({ body, ...head }: RunInput): Payload {
  return [JSON.stringify(head), body]
}

export function outcomePayload({ body, ...head }: Outcome): Payload {
  return [JSON.stringify(head), body]
}

export function stepPayload({ value = '', state: _, ...head }: StepRecord): Payload {
  return [JSON.stringify(head), value]
}

export function inputRow(run: string, input: RunInput): PayloadRow {
  return payloadRow(run, inputSeq, 'input', inputPayload(input))
}

export function outcomeRow(run: string, outcome: Outcome): PayloadRow {
  return payloadRow(run, outcomeSeq, 'outcome', outcomePayload(outcome))
}

export function stepRow(run: string, seq: number, step: StepRecord): PayloadRow {
  return payloadRow(run, seq, step.state, stepPayload(step))
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
