import type { Appetite } from './appetite.ts'
import type { Chance } from './chance.ts'
import { codeOf, finalRunOf, type Reply } from './journal.ts'
import type { Loop } from './loop.ts'
import type { Heard, Network, Sent } from './network.ts'
import type { SimNode } from './node.ts'
import { drawProgram, type Instruction, type Pace } from './program.ts'

/** What the clients of a seed have in common. */
export interface ClientOptions {
  readonly loop: Loop
  readonly network: Network
  readonly nodes: readonly SimNode[]
  readonly leaseMs: number
  readonly appetite: Appetite
  readonly pace: Pace
  /** How often processes ended so far. */
  readonly crashes: () => number
  readonly count: (what: string) => void
  readonly broken: (rule: string, what: string) => void
}

/** A keyed request of a client. */
interface Keyed {
  readonly sent: Sent
  readonly crashesBefore: number
  run: string | undefined
  final: Reply | undefined
  cancelled: boolean
  /** How often it heard that the outcome is not known. */
  unknown: number
}

const usual = { submit: 40, repeat: 22, mismatch: 8, cancel: 8, signal: 10, look: 12 } as const

/** A user of the service: sends keyed requests, repeats them until they are answered, and does what users do to requests. */
export class Client {
  readonly user: string
  readonly #options: ClientOptions
  readonly #chance: Chance
  readonly #keyed: Keyed[] = []
  #keys = 0
  done = false

  constructor(user: string, chance: Chance, options: ClientOptions) {
    this.user = user
    this.#chance = chance
    this.#options = options
  }

  /** Does `actions` things at random, then repeats what has no answer until it has. */
  async live(actions: number): Promise<void> {
    const { loop } = this.#options
    for (let i = 0; i < actions; i++) {
      await loop.sleep(this.#chance.between(0, 2_500))
      await this.#act()
    }
    await this.finish()
  }

  /** Repeats what has no answer until it has. */
  async finish(): Promise<void> {
    const { loop } = this.#options
    for (const keyed of this.#keyed) {
      while (keyed.final === undefined) {
        await loop.sleep(this.#chance.between(200, 1_500))
        await this.#submit(keyed)
      }
      // Once more, from any node: the same to the byte, and no run in between.
      if (this.#chance.odds(0.5)) await this.#submit(keyed)
    }
    this.done = true
  }

  async #act(): Promise<void> {
    const keyed = this.#keyed.length === 0 ? undefined : this.#chance.pick(this.#keyed)
    const action = this.#options.appetite.pick(this.#chance, usual)
    if (keyed === undefined || action === 'submit') return this.#submit(this.#newKey())
    if (action === 'repeat') return this.#submit(keyed)
    const { run } = keyed
    if (action === 'mismatch') return this.#mismatch(keyed)
    if (run === undefined) return
    if (action === 'cancel') return this.#cancel(keyed, run)
    if (action === 'signal') return this.#signal(run)
    await this.#look(run, this.#chance.odds(0.5) ? '' : '/response')
  }

  /** Sends a durable request that does what `program` says. */
  submit(program: readonly Instruction[]): Promise<void> {
    return this.#submit(this.#keyedOf('/jobs/a', { program }))
  }

  /** Does something to the run of the last request, if that is known. */
  async toLast(action: 'cancel' | 'signal' | 'repeat'): Promise<void> {
    const keyed = this.#keyed.at(-1)
    if (keyed === undefined) return
    if (action === 'repeat') return this.#submit(keyed)
    if (keyed.run === undefined) return
    await (action === 'cancel' ? this.#cancel(keyed, keyed.run) : this.#signal(keyed.run))
  }

  #newKey(): Keyed {
    if (this.#chance.odds(0.8)) {
      const program = drawProgram(this.#chance, this.#options.appetite, this.#options.pace)
      return this.#keyedOf('/jobs/a', { program })
    }
    const ms = this.#chance.odds(0.3)
      ? this.#chance.between(0.5, 2.5) * this.#options.leaseMs
      : this.#chance.between(0, 300)
    return this.#keyedOf('/plain/a', { ms, answer: this.#chance.odds(0.3) ? 503 : 201 })
  }

  #keyedOf(path: string, body: object): Keyed {
    // Users take the same keys: they are told apart by who asks.
    const key = `k${++this.#keys}`
    const sent: Sent = {
      method: 'POST',
      path,
      user: this.user,
      headers: { 'idempotency-key': key, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      key: `${this.user} ${key}`,
    }
    const keyed: Keyed = {
      sent,
      crashesBefore: this.#options.crashes(),
      run: undefined,
      final: undefined,
      cancelled: false,
      unknown: 0,
    }
    this.#keyed.push(keyed)
    this.#options.count('new_key')
    return keyed
  }

  async #submit(keyed: Keyed): Promise<void> {
    const { count, broken, crashes } = this.#options
    const prefer = this.#chance.pick([undefined, undefined, 'respond-async', 'wait=2'])
    const { sent } = keyed
    const headers = prefer === undefined ? sent.headers! : { ...sent.headers, prefer }
    if (crashes() > keyed.crashesBefore) count('key_after_crash')
    count('submit')
    const heard = await this.#send({ ...sent, headers })
    if (typeof heard === 'string') return
    const { status } = heard
    if (status === 422)
      broken('dedup F4', `${sent.key} was refused as another request: ${heard.body}; user ${this.user}`)
    if (heard.headers.get('idempotent-replayed') === 'true') count('replay')
    if (codeOf(heard) === 'idempotency_request_in_flight') count('conflict')
    const run = heard.headers.get('gw-run')
    if (run !== null && codeOf(heard) !== 'outcome_unknown') {
      if (keyed.run !== undefined && keyed.run !== run)
        broken('P2 one run a key', `${sent.key} has the runs ${keyed.run} and ${run}`)
      keyed.run = run
    }
    if (run !== null && status === 202 && this.#chance.odds(0.12)) await this.#cancel(keyed, run)
    // Where the key lies apart, nobody may ever know whether the run was accepted: a person has to look.
    const lost = isUnknown(heard) && ++keyed.unknown > 40
    const final = sent.path.startsWith('/jobs') ? lost || finalRunOf(heard) !== undefined : plainFinal(heard)
    if (!final) return
    if (keyed.cancelled && status === 201)
      broken('C1 cancelled is never 201', `${sent.key} was cancelled: ${heard.body}`)
    if (keyed.final === undefined) count('answered')
    keyed.final = heard
  }

  /** The same key with another body, query, path or user is another request. */
  async #mismatch({ sent, run, final }: Keyed): Promise<void> {
    if (run === undefined && final === undefined) return
    const { key: _, ...same } = sent
    const other = this.#chance.pick<Sent>([
      { ...same, body: sent.body!.replace('{', '{"more":1,') },
      { ...same, path: `${sent.path}?more=1` },
      { ...same, path: sent.path.replace(/a$/, 'b') },
    ])
    const heard = await this.#send(other)
    if (typeof heard === 'string' || heard.status === 503) return
    // Where nobody knew what became of it, it may have been found out since that nothing ran.
    const free = final?.headers.get('idempotency-status') === 'unstored' || (final !== undefined && isUnknown(final))
    if (heard.status !== 422 && !(run === undefined && free))
      this.#options.broken(
        'dedup F4 another request',
        `${sent.key} was ${heard.status} for ${other.path} ${other.body}`,
      )
    else this.#options.count('mismatch')
  }

  async #cancel(keyed: Keyed, run: string): Promise<void> {
    const heard = await this.#send({ method: 'DELETE', path: `/requests/${run}`, user: this.user })
    if (typeof heard === 'string' || heard.status !== 202) return
    this.#options.count('cancel')
    keyed.cancelled = true
    if (keyed.final?.status === 201)
      this.#options.broken('C1 cancelled is never 201', `${run} was answered 201 before: ${heard.body}`)
  }

  async #signal(run: string): Promise<void> {
    const path = `/requests/${run}/signals/go`
    const heard = await this.#send({ method: 'POST', path, user: this.user, body: '{"go":1}' })
    if (typeof heard !== 'string' && heard.status === 202) this.#options.count('signal')
  }

  async #look(run: string, part: string): Promise<void> {
    const user = this.#chance.odds(0.1) ? 'somebody' : this.user
    const heard = await this.#send({ method: 'GET', path: `/requests/${run}${part}`, user })
    if (typeof heard === 'string') return
    this.#options.count('look')
    if (user === 'somebody' && heard.status < 500 && heard.status !== 404)
      this.#options.broken('W1 only its principal', `${run} was shown to somebody: ${heard.status}`)
  }

  #send(sent: Sent): Promise<Heard> {
    const { network, nodes, leaseMs } = this.#options
    return network.send(this.#chance.pick(nodes), sent, this.#chance.between(0.5, 4) * leaseMs)
  }
}

function isUnknown(reply: Pick<Reply, 'body'>): boolean {
  return codeOf(reply) === 'idempotency_outcome_unknown'
}

function plainFinal({ headers, body, status }: Reply): boolean {
  const said = headers.get('idempotency-status')
  // Nobody can say what became of it, and the policy of the route is to leave it to people.
  if (isUnknown({ body })) return true
  return status !== 503 && (said === 'stored' || said === 'replayed' || said === 'unstored')
}
