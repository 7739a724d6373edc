import genericPool from 'generic-pool'
import type { Entry } from './entry.ts'
import type { IdleList } from './idle-list.ts'
import type { Taker, Waiter, WaitQueue } from './wait-queue.ts'

/** generic-pool 3.9.0 as it is used here, its private members included; `test/contract.test.ts` pins them. */
interface GenericPool<Kept> {
  readonly _config: { max: number }
  release(kept: Kept): Promise<void>
  destroy(kept: Kept): Promise<void>
  _dispense(): void
  _dispatchResource(): boolean
  _createResource(): void
}

type GenericPoolClass = new (
  evictor: unknown,
  deque: unknown,
  queue: unknown,
  factory: unknown,
  options: object,
) => GenericPool<object>

const library = genericPool as unknown as { readonly Pool: GenericPoolClass; readonly DefaultEvictor: unknown }
const Pool: GenericPoolClass = library.Pool

/** What generic-pool calls back for. */
export interface EngineFactory<Connection extends object> {
  /** Whether a connect may start now. */
  admits(): boolean
  create(): Promise<Entry<Connection>>
  destroy(entry: Entry<Connection>): Promise<void>
}

/** generic-pool with the pool's own idle list, queue and say over when a connect starts. Its timers, drain, `use` and `clear` are never used. */
export class Engine<Connection extends object> extends Pool {
  readonly #factory: EngineFactory<Connection>
  readonly #idle: IdleList<Connection>
  readonly #queue: WaitQueue<Entry<Connection>, Waiter>
  readonly #hand: Taker<Entry<Connection>>
  #taken: Entry<Connection> | undefined

  constructor(
    factory: EngineFactory<Connection>,
    idle: IdleList<Connection>,
    queue: WaitQueue<Entry<Connection>, Waiter>,
    max: number,
  ) {
    super(library.DefaultEvictor, supply(idle), supply(queue), factory, { min: 0, max, autostart: false, fifo: false })
    this.#factory = factory
    this.#idle = idle
    this.#queue = queue
    this.#hand = {
      state: 'PENDING',
      resolve: (entry) => {
        this.#taken = entry
      },
    }
  }

  get max(): number {
    return this._config.max
  }

  set max(max: number) {
    this._config.max = max
  }

  /** Serves those who wait from the idle ones, and connects for the rest. */
  dispense(): void {
    this._dispense()
  }

  /** Starts one connect if one may start. */
  connect(): void {
    this._createResource()
  }

  override _createResource(): void {
    if (this.#factory.admits()) super._createResource()
  }

  /** Borrows the next idle connection, past the queue. */
  take(): Entry<Connection> | undefined {
    this.#queue.direct(this.#hand)
    this._dispatchResource()
    this.#queue.direct(undefined)
    const entry = this.#taken
    this.#taken = undefined
    return entry
  }

  /** Borrows this idle connection, past the queue. Answers `false` when it is not idle. */
  takeThis(entry: Entry<Connection>): boolean {
    return this.#idle.promote(entry) && this.take() === entry
  }
}

/** A class whose only instance is there already. */
function supply(instance: object): unknown {
  return function supplied() {
    return instance
  }
}
