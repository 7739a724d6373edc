import { base64, unbase64 } from './codec.ts'
import { CheckpointError } from './errors.ts'
import { problemOutcome } from './outcome.ts'
import { joined } from './pieces.ts'
import type { Outcome, RunInput, StepRecord } from './run-record.ts'
import type { Seal } from './seal.ts'
import type { RunPatch } from './store.ts'

/** Stands in the header list of a payload whose real header list is inside the seal. */
const mark: Outcome['headers'] = [['gw-sealed', '1']]
const tag = '$gw'
const [encoder, decoder] = [new TextEncoder(), new TextDecoder()]

type Subject = string | undefined
type Fields = Readonly<Record<string, unknown>>

/** What stands for an answer that is gone with its subject's key. */
export const erasedOutcome: Outcome = problemOutcome(410, 'payload_erased', 'The answer was erased')

/** Whether the payload is gone with its subject's key. */
export function isErased(error: unknown): boolean {
  return (
    error instanceof Error && 'code' in error && (error.code === 'payload_erased' || error.code === 'subject_erased')
  )
}

/** The payloads of runs in the shape in which a store keeps them sealed. */
export interface SealedPayloads {
  sealInput(run: string, input: RunInput, subject: Subject): Promise<RunInput>
  openInput(run: string, input: RunInput): Promise<RunInput>
  sealOutcome(run: string, outcome: Outcome, subject: Subject): Promise<Outcome>
  /** An erased one is a 410 that says so. */
  openOutcome(run: string, outcome: Outcome): Promise<Outcome>
  sealStep(run: string, step: StepRecord, subject: Subject): Promise<StepRecord>
  /** An erased one has no value. */
  openStep(run: string, step: StepRecord): Promise<StepRecord>
  sealSignal(run: string, name: string, value: string | Uint8Array, subject: Subject): Promise<string | Uint8Array>
  /** Field by field, so that a store can still merge; where there is a subject, nothing is sealed too, so that erasure shows. */
  sealData(run: string, data: string | undefined, subject: Subject): Promise<string | undefined>
  openData(run: string, data: string): Promise<string | undefined>
  sealPatch(run: string, patch: RunPatch, subject: Subject): Promise<RunPatch>
}

export function sealedPayloads(seal: Seal, allowUnsealed: boolean): SealedPayloads {
  function unsealed<Payload>(payload: Payload): Payload {
    if (allowUnsealed) return payload
    throw new CheckpointError(
      'not_sealed',
      'The payload was stored without a seal; `allowUnsealed` reads such payloads',
    )
  }

  async function sealValue(
    run: string,
    kind: string,
    value: string | Uint8Array,
    subject: Subject,
  ): Promise<Uint8Array> {
    const [form, bytes] = typeof value === 'string' ? [0, encoder.encode(value)] : [1, value]
    return seal.seal(joined([Uint8Array.of(form), bytes]), { run, kind }, subject)
  }

  const sealText = async (run: string, kind: string, text: string, subject: Subject) => ({
    [tag]: 'sealed',
    v: base64(await seal.seal(encoder.encode(text), { run, kind }, subject)),
  })
  const openText = async (run: string, kind: string, { v }: Fields) =>
    decoder.decode(await seal.open(new Uint8Array(unbase64(String(v))), { run, kind }))

  async function sealFields(run: string, data: string, subject: Subject): Promise<string> {
    const value: unknown = JSON.parse(data)
    if (!isPlain(value)) return JSON.stringify(await sealText(run, 'data', data, subject))
    const sealing = Object.entries(value).map(
      async ([field, each]) => [field, await sealText(run, `data ${field}`, JSON.stringify(each), subject)] as const,
    )
    return JSON.stringify(Object.fromEntries(await Promise.all(sealing)))
  }

  return {
    async sealInput(run, { body, ...head }, subject) {
      const sealed = await seal.seal(framed(head, body), { run, kind: 'input' }, subject)
      return { url: '', headers: mark, variables: '{}', body: sealed }
    },
    async openInput(run, input) {
      if (!isMarked(input)) return unsealed(input)
      const [head, body] = unframed(await seal.open(input.body, { run, kind: 'input' }))
      return { ...(head as Omit<RunInput, 'body'>), body }
    },

    async sealOutcome(run, { status, retained, headers, body }, subject) {
      const sealed = await seal.seal(framed({ headers }, body), { run, kind: 'outcome' }, subject)
      return { status, retained, headers: mark, body: sealed }
    },
    async openOutcome(run, outcome) {
      if (!isMarked(outcome)) return unsealed(outcome)
      try {
        const [head, body] = unframed(await seal.open(outcome.body, { run, kind: 'outcome' }))
        return { ...outcome, ...(head as Pick<Outcome, 'headers'>), body }
      } catch (error) {
        if (isErased(error)) return erasedOutcome
        throw error
      }
    },

    async sealStep(run, step, subject) {
      if (step.value === undefined) return step
      return { ...step, value: await sealValue(run, kindOf(step), step.value, subject) }
    },
    async openStep(run, step) {
      const { value } = step
      // How many rows the user's statements changed is written by the database itself.
      if (value === undefined || (typeof value === 'string' && /^\[[\d,]*\]$/.test(value))) return step
      if (typeof value === 'string') return unsealed(step)
      try {
        const bytes = await seal.open(value, { run, kind: kindOf(step) })
        return { ...step, value: bytes[0] === 0 ? decoder.decode(bytes.subarray(1)) : bytes.subarray(1) }
      } catch (error) {
        if (isErased(error)) return { ...step, value: undefined }
        throw error
      }
    },
    sealSignal: (run, name, value, subject) =>
      sealValue(run, kindOf({ name, occurrence: 0, state: 'signal' }), value, subject),

    async sealData(run, data, subject) {
      if (data !== undefined) return sealFields(run, data, subject)
      return subject === undefined ? undefined : JSON.stringify(await sealText(run, 'data', '', subject))
    },
    async openData(run, data) {
      const value: unknown = JSON.parse(data)
      if (isSealed(value)) return (await openText(run, 'data', value)) || undefined
      if (!isPlain(value)) return unsealed(data)
      const opening = Object.entries(value).map(async ([field, each]) => {
        const text = isSealed(each) ? await openText(run, `data ${field}`, each) : unsealed(JSON.stringify(each))
        return `${JSON.stringify(field)}:${text}`
      })
      return `{${(await Promise.all(opening)).join(',')}}`
    },
    async sealPatch(run, { data, merge, ...patch }, subject) {
      return {
        ...patch,
        ...(data === undefined ? {} : { data: await sealFields(run, data, subject) }),
        ...(merge === undefined ? {} : { merge: await sealFields(run, merge, subject) }),
      }
    },
  }
}

/** The same for runs with a subject; what belongs to nobody stays as it is. */
export function onlyOfSubjects(payloads: SealedPayloads): SealedPayloads {
  const unless =
    <Rest extends readonly unknown[], Plain, Sealed>(seal: (...args: [...Rest, Plain, Subject]) => Promise<Sealed>) =>
    async (...args: [...Rest, Plain, Subject]): Promise<Sealed | Plain> =>
      args.at(-1) === undefined ? (args.at(-2) as Plain) : seal(...args)
  return {
    ...payloads,
    sealInput: unless(payloads.sealInput),
    sealOutcome: unless(payloads.sealOutcome),
    sealStep: unless(payloads.sealStep),
    sealSignal: unless(payloads.sealSignal),
    sealData: unless(payloads.sealData),
    sealPatch: unless(payloads.sealPatch),
  }
}

/** What a step's seal is bound to. A signal's occurrence is given by the store, after the seal. */
function kindOf({ name, occurrence, state }: Pick<StepRecord, 'name' | 'occurrence' | 'state'>): string {
  return state === 'signal' ? `signal ${name}` : `${state} ${name}#${occurrence}`
}

function isMarked({ headers }: Pick<Outcome, 'headers'>): boolean {
  return headers.length === 1 && headers[0]![0] === mark[0]![0]
}

function isPlain(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(tag in value)
}

function isSealed(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && tag in value && value[tag] === 'sealed'
}

/** A head and the bytes after it as one text. */
function framed(head: object, body: Uint8Array): Uint8Array {
  const json = encoder.encode(JSON.stringify(head))
  const { length } = json
  return joined([Uint8Array.of(length >>> 24, length >>> 16, length >>> 8, length), json, body])
}

function unframed(bytes: Uint8Array): [head: object, body: Uint8Array] {
  const end = 4 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
  return [JSON.parse(decoder.decode(bytes.subarray(4, end))), bytes.slice(end)]
}
