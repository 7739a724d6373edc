import { decode, encode } from './codec.ts'
import { CheckpointError } from './errors.ts'
import { finished, type Outcome, type RunInput, type RunRecord, type StepRecord } from './run-record.ts'
import type { CheckpointStore } from './store.ts'

/** A run whole: its row and everything that is kept beside it. */
export interface RunBundle {
  readonly record: RunRecord
  readonly input: RunInput
  readonly steps: readonly StepRecord[]
  /** There for a finished run, and only then. */
  readonly outcome: Outcome | undefined
}

/** What stands for the input of a run whose payloads are in the cold store. */
export const coldInput: RunInput = { url: '', headers: [['gw-cold', '1']], variables: '{}', body: new Uint8Array() }

export function isCold({ headers }: RunInput): boolean {
  return headers.length === 1 && headers[0]![0] === 'gw-cold'
}

/**
 * Reads a run whole. Steps may be newer than the row, which is as if the row had been read at once and the steps been kept after it;
 * a row and an outcome that do not belong together are read again. `undefined` for a run that is not there, or is cold.
 */
export async function readBundle(store: CheckpointStore, id: string): Promise<RunBundle | undefined> {
  for (let tries = 0; tries < 10; tries++) {
    const record = await store.get(id)
    const input = await store.input(id)
    if (record === undefined || input === undefined || isCold(input)) return undefined
    const steps = await store.steps(id)
    if (!finished.has(record.status)) return { record, input, steps, outcome: undefined }
    const outcome = await store.outcome(id)
    if (outcome !== undefined && (await store.get(id))?.revision === record.revision)
      return { record, input, steps, outcome }
  }
  throw new CheckpointError('corrupt_record', `Run ${id} is finished and has no outcome`)
}

const [encoder, decoder] = [new TextEncoder(), new TextDecoder()]

/** Bytes that {@link unpack} turns back into an equal value. */
export function pack(value: unknown): Uint8Array {
  return encoder.encode(encode(value))
}

export function unpack(bytes: Uint8Array): unknown {
  return decode(decoder.decode(bytes))
}
