import { decode, encode } from './codec.ts'
import type { Outcome, RunInput, RunRecord, StepRecord } from './run-record.ts'
import type { CheckpointStore } from './store.ts'

/** Which payload is sealed or opened; a seal binds its bytes to it, so that none can stand in for another. */
export interface PayloadPlace {
  readonly run: string
  readonly subject: string | undefined
  /** `input`, `outcome`, `data`, or a step as `step charge#1`. */
  readonly part: string
}

/**
 * Turns payload bytes into what is stored, and back: compression, encryption, a subject's own key. What `seal` gives describes
 * itself: `open` gives back bytes that were never sealed as they are.
 */
export interface PayloadSeal {
  seal(bytes: Uint8Array, place: PayloadPlace): Promise<Uint8Array>
  open(bytes: Uint8Array, place: PayloadPlace): Promise<Uint8Array>
}

type Sealed = Pick<RunRecord, 'id' | 'subject'>

const none = new Uint8Array()

/** Reads and prepares payloads, through the seal where there is one. Without one nothing is copied and nothing waits. */
export class Payloads {
  readonly #store: CheckpointStore
  readonly #seal: PayloadSeal | undefined

  constructor(store: CheckpointStore, seal: PayloadSeal | undefined) {
    this.#store = store
    this.#seal = seal
  }

  /** Whether payloads must be sealed before they are given to the store. */
  get sealed(): boolean {
    return this.#seal !== undefined
  }

  async sealInput(run: Sealed, input: RunInput): Promise<RunInput> {
    const bytes = new TextEncoder().encode(encode(input))
    return { url: '', headers: [], variables: '', body: await this.#seal!.seal(bytes, place(run, 'input')) }
  }

  async sealStep(run: Sealed, step: StepRecord): Promise<StepRecord> {
    if (step.value === undefined) return step
    const bytes = typeof step.value === 'string' ? new TextEncoder().encode(step.value) : step.value
    return { ...step, value: await this.#seal!.seal(bytes, place(run, partOf(step))) }
  }

  async sealOutcome(run: Sealed, outcome: Outcome): Promise<Outcome> {
    return { ...outcome, body: await this.#seal!.seal(outcome.body, place(run, 'outcome')) }
  }

  async sealData(run: Sealed, data: string): Promise<string> {
    return encode(await this.#seal!.seal(new TextEncoder().encode(data), place(run, 'data')))
  }

  async data(run: RunRecord): Promise<unknown> {
    if (run.data === undefined) return undefined
    const data = decode(run.data)
    if (this.#seal === undefined || !(data instanceof Uint8Array)) return data
    return decode(new TextDecoder().decode(await this.#seal.open(data, place(run, 'data'))))
  }

  async input(run: Sealed): Promise<RunInput | undefined> {
    const input = await this.#store.input(run.id)
    if (this.#seal === undefined || input === undefined || input.url !== '') return input
    return decode(new TextDecoder().decode(await this.#seal.open(input.body, place(run, 'input')))) as RunInput
  }

  async steps(run: Sealed): Promise<StepRecord[]> {
    const steps = await this.#store.steps(run.id)
    const seal = this.#seal
    if (seal === undefined) return steps
    return Promise.all(
      steps.map(async (step) => {
        if (!(step.value instanceof Uint8Array)) return step
        return { ...step, value: new TextDecoder().decode(await seal.open(step.value, place(run, partOf(step)))) }
      }),
    )
  }

  async outcome(id: string): Promise<Outcome | undefined> {
    const outcome = await this.#store.outcome(id)
    if (this.#seal === undefined || outcome === undefined) return outcome
    const subject = (await this.#store.get(id))?.subject
    return { ...outcome, body: await this.#seal.open(outcome.body, place({ id, subject }, 'outcome')) }
  }
}

/** The text of a step's value; steps are opened before they are read. */
export function textOf(step: StepRecord): string {
  return typeof step.value === 'string' ? step.value : new TextDecoder().decode(step.value ?? none)
}

function place({ id, subject }: Sealed, part: string): PayloadPlace {
  return { run: id, subject, part }
}

function partOf({ name, occurrence, state }: StepRecord): string {
  // The store numbers signals when they arrive, after they are sealed.
  if (state === 'signal') return `signal ${name}`
  return `${state === 'kept' ? 'step' : state} ${name}#${occurrence}`
}
