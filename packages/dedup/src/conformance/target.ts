/** What is held to the contract, and how it is called. */
export interface ConformanceTarget {
  /** Where the server is, for example `http://127.0.0.1:8000`. */
  readonly url: string
  /** An operation that takes keys, and answers with something new each time it runs: an id, a count. */
  readonly path: string
  /** A body that the operation accepts: a JSON object. */
  readonly body: string
  /** `POST` */
  readonly method?: string
  /** Fields that every request brings: credentials, for example. */
  readonly headers?: Readonly<Record<string, string>>
  /** The same for somebody else, whose keys must not meet the first one's. */
  readonly otherHeaders?: Readonly<Record<string, string>>
  /** An operation like the first that takes about a second. */
  readonly slowPath?: string
  /** An operation that refuses requests without a key. */
  readonly requiredPath?: string
  /** An operation by GET. */
  readonly getPath?: string
  /** Only the cases with these ids; every one unless given. */
  readonly cases?: readonly string[]
  readonly fetch?: typeof fetch
}

/** One answer of the server, read to its end. */
export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly bytes: Uint8Array
  readonly text: string
  /** Whether it says that it was given before. */
  readonly replayed: boolean
}

/** What a request has that is not the usual. */
export interface Variation {
  readonly key?: string
  readonly keys?: readonly string[]
  readonly body?: string
  readonly path?: string
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly other?: boolean
  readonly signal?: AbortSignal
}

/** Calls the server; what a case works with. */
export class Client {
  readonly target: ConformanceTarget

  constructor(target: ConformanceTarget) {
    this.target = target
  }

  /** A key that nobody has used. */
  freshKey(): string {
    return crypto.randomUUID()
  }

  async send(variation: Variation = {}): Promise<Reply> {
    const { target } = this
    const { key, keys = key === undefined ? [] : [key], other = false, signal } = variation
    const method = variation.method ?? target.method ?? 'POST'
    const headers = new Headers({ 'content-type': 'application/json' })
    const own = other ? (target.otherHeaders ?? {}) : (target.headers ?? {})
    for (const [name, value] of Object.entries({ ...own, ...variation.headers })) headers.set(name, value)
    for (const each of keys) headers.append('idempotency-key', each)
    const call = target.fetch ?? fetch
    const response = await call(new URL(variation.path ?? target.path, target.url).href, {
      method,
      headers,
      redirect: 'manual',
      ...(method === 'GET' ? {} : { body: variation.body ?? target.body }),
      ...(signal === undefined ? {} : { signal }),
    })
    const bytes = new Uint8Array(await response.arrayBuffer())
    return {
      status: response.status,
      headers: response.headers,
      bytes,
      text: new TextDecoder().decode(bytes),
      replayed: response.headers.get('idempotent-replayed') === 'true',
    }
  }
}
