import type { DedupStore, KeyLink, KeyRecord, NewClaim, Settlement, StoredResponse } from './store.ts'
import type { Unit, Write } from './unit.ts'

/** A store under test. */
export interface DedupStoreHarness {
  readonly store: DedupStore
  /** The same keys as a second process sees them; where there is one, the laws are checked across both. */
  readonly second?: DedupStore
  /** The lease that claims are made with, in milliseconds: 300. Longer where time is waited for on a busy machine. */
  readonly leaseMs?: number
  /** Lets time pass on the store's clock. */
  advance(ms: number): Promise<void>
  close(): Promise<void>
}

/**
 * Checks the laws of {@link DedupStore} on anyone's store. `test` is the runner's; `create` makes an opened harness for each law.
 * Keys are random: the database may have others in it, and keep these.
 */
export function testDedupStore(
  test: (name: string, run: () => Promise<void>) => void,
  create: () => Promise<DedupStoreHarness>,
): void {
  const law = (name: string, run: (harness: Under) => Promise<void>) => {
    test(name, async () => {
      const harness = await create()
      try {
        await run(new Under(harness))
      } finally {
        await harness.close()
      }
    })
  }

  law(
    'law 1: of fifty concurrent claims on a free key one is claimed, and the others get its record',
    async (under) => {
      const { store, second = store } = under
      const claims = Array.from({ length: 50 }, () => under.newClaim({ key: under.key }))
      const answers = await Promise.all(claims.map((claim, i) => (i % 2 === 0 ? store : second).tryClaim(claim)))
      const winners = answers.flatMap((answer, i) => (answer.kind === 'claimed' ? [claims[i]!] : []))
      equal(winners.length, 1, 'claims made')
      for (const answer of answers) {
        if (answer.kind === 'claimed') continue
        const { token, fingerprint, principalHash, state, response, link, leaseRemainingMs } = answer.record
        equal(
          { token, fingerprint, principalHash, state, response, link },
          {
            token: winners[0]!.token,
            fingerprint: winners[0]!.fingerprint,
            principalHash: winners[0]!.principalHash,
            state: 'in_flight',
            response: undefined,
            link: undefined,
          },
          'the record that the others get',
        )
        check(
          leaseRemainingMs > 0 && leaseRemainingMs <= under.leaseMs,
          `a lease within bounds, got ${leaseRemainingMs}`,
        )
      }
    },
  )

  law('law 2: a claim repeated with its own token is claimed again with the same fence', async (under) => {
    const claim = under.newClaim({ key: under.key })
    const first = await under.store.tryClaim(claim)
    equal(await (under.second ?? under.store).tryClaim(claim), first, 'the repeated claim')
    equal((await under.store.tryClaim(under.newClaim({ key: under.key }))).kind, 'held', 'another claim')
  })

  law(
    'law 3: a lapsed claim is taken by who names its token, and by nobody else; a live one by nobody',
    async (under) => {
      const first = await under.claimed({})
      const early = under.newClaim({ key: under.key, replaces: first.token })
      equal((await under.store.tryClaim(early)).kind, 'held', 'a takeover of a live claim')
      await under.advance(under.leaseMs + margin)
      const held = await under.store.tryClaim(under.newClaim({ key: under.key }))
      check(held.kind === 'held' && held.record.leaseRemainingMs === 0, 'a lapsed claim is held without a lease')
      equal(
        (await under.store.tryClaim(under.newClaim({ key: under.key, replaces: 'x' }))).kind,
        'held',
        'another token',
      )
      const takers = Array.from({ length: 10 }, () => under.newClaim({ key: under.key, replaces: first.token }))
      const answers = await Promise.all(takers.map((taker) => under.store.tryClaim(taker)))
      equal(answers.filter(({ kind }) => kind === 'claimed').length, 1, 'takeovers')
    },
  )

  law(
    'law 3: a completed key is taken once its window is over, and an unlinked claim a window after its lease',
    async (under) => {
      const first = await under.claimed({ windowMs: 2 * under.leaseMs })
      await under.advance(under.leaseMs + margin)
      equal(
        (await under.store.tryClaim(under.newClaim({ key: under.key }))).kind,
        'held',
        'a lapsed claim within its window',
      )
      equal(await under.change(under.store.complete(first, answer, undefined)), 'ok', 'completion')
      await under.advance(under.leaseMs + margin)
      equal((await under.store.tryClaim(under.newClaim({ key: under.key }))).kind, 'held', 'within the window')
      await under.advance(under.leaseMs + margin)
      equal(await under.store.get(under.key), undefined, 'the record after its window')
      await under.claimed({ windowMs: under.leaseMs })
      await under.advance(2 * under.leaseMs + 2 * margin)
      await under.claimed({})
    },
  )

  law('law 3: a linked claim outlives its window', async (under) => {
    const first = await under.claimed({ windowMs: under.leaseMs })
    equal(await under.change(under.store.attach(first, 'run-1')), 'ok', 'attaching')
    await under.advance(3 * under.leaseMs + margin)
    equal((await under.store.get(under.key))?.link, 'run-1', 'the link')
    equal((await under.store.tryClaim(under.newClaim({ key: under.key }))).kind, 'held', 'another claim')
    const taken = await under.store.tryClaim(under.newClaim({ key: under.key, replaces: first.token }))
    equal(taken.kind, 'claimed', 'a takeover by token')
  })

  law('law 4: the fence grows with each claim, also after a release', async (under) => {
    const fences: number[] = []
    for (let i = 0; i < 3; i++) {
      const claim = under.newClaim({ key: under.key })
      const made = await under.store.tryClaim(claim)
      check(made.kind === 'claimed', 'a free key')
      fences.push(made.fence)
      equal(await under.change(under.store.release(claim)), 'ok', 'release')
    }
    check(fences[0]! < fences[1]! && fences[1]! < fences[2]!, `growing fences, got ${fences.join(', ')}`)
  })

  law('law 5: a stale token changes nothing, and a lapsed owner still holds its key', async (under) => {
    const { store } = under
    const first = await under.claimed({})
    await under.advance(under.leaseMs + margin)
    equal(await under.change(store.extend(first, under.leaseMs)), 'ok', 'extending a lapsed claim')
    check((await store.get(under.key))!.leaseRemainingMs > 0, 'a lease again')
    await under.advance(under.leaseMs + margin)
    const second = under.newClaim({ key: under.key, replaces: first.token })
    equal((await store.tryClaim(second)).kind, 'claimed', 'the takeover')
    for (const write of [
      store.extend(first, under.leaseMs),
      store.attach(first, 'run'),
      store.release(first),
      store.complete(first, answer, undefined),
    ]) {
      equal(await under.change(write), 'stale', write.procedure)
    }
    const record = await store.get(under.key)
    equal([record?.token, record?.state, record?.link], [second.token, 'in_flight', undefined], 'the record')
  })

  law('law 6: completing again with the same token is ok, and the first answer stays', async (under) => {
    const first = await under.claimed({})
    equal(await under.change(under.store.complete(first, answer, undefined)), 'ok', 'completion')
    const other = { ...answer, status: 500 }
    equal(await under.change(under.store.complete(first, other, undefined)), 'ok', 'completion again')
    equal(await under.change(under.store.release(first)), 'stale', 'release after completion')
    equal((await under.store.get(under.key))?.response?.status, answer.status, 'the kept status')
  })

  law('law 7: an answer comes back to the byte, with its fields in order, or without a body', async (under) => {
    const { store, second = store } = under
    for (const response of [answer, { ...answer, body: new Uint8Array() }, { ...answer, body: undefined }]) {
      const claim = under.newClaim({ key: randomKey() })
      await store.tryClaim(claim)
      await under.change(store.complete(claim, response, undefined))
      const record = (await second.get(claim.key))!
      equal(record.state, 'completed', 'the state')
      equal(plain(record.response!), plain(response), 'the answer')
      const held = await second.tryClaim(under.newClaim({ key: claim.key }))
      check(held.kind === 'held', 'a completed key')
      equal(plain(held.record.response!), plain(response), 'the answer to a claim')
    }
  })

  law('law 7: the window counts from completion', async (under) => {
    const first = await under.claimed({ windowMs: 3 * under.leaseMs })
    await under.advance(under.leaseMs / 2)
    await under.change(under.store.complete(first, answer, undefined))
    const { windowRemainingMs } = (await under.store.get(under.key))!
    check(
      windowRemainingMs > 2.5 * under.leaseMs && windowRemainingMs <= 3 * under.leaseMs,
      `a whole window, got ${windowRemainingMs}`,
    )
    const other = under.newClaim({ key: randomKey() })
    await under.store.tryClaim(other)
    await under.change(under.store.complete(other, answer, under.leaseMs))
    await under.advance(under.leaseMs + margin)
    equal(await under.store.get(other.key), undefined, 'an answer after a window of its own')
  })

  law('law 8: erase removes what is completed or lapsed of one principal only', async (under) => {
    const principalHash = randomKey()
    const done = under.newClaim({ principalHash })
    const lapsed = under.newClaim({ principalHash })
    const other = under.newClaim({})
    for (const claim of [done, lapsed, other]) await under.store.tryClaim(claim)
    for (const claim of [done, other]) await under.change(under.store.complete(claim, answer, undefined))
    await under.advance(under.leaseMs + margin)
    const live = under.newClaim({ principalHash })
    await under.store.tryClaim(live)
    equal(await under.store.erase(principalHash), 2, 'erased')
    const left: (string | undefined)[] = []
    for (const { key } of [done, lapsed, other, live]) left.push((await under.store.get(key))?.state)
    equal(left, [undefined, undefined, 'completed', 'in_flight'], 'what is left')
  })

  law('law 9: sweep removes only what is over', async (under) => {
    const over = under.newClaim({ windowMs: under.leaseMs })
    const kept = under.newClaim({ windowMs: 100 * under.leaseMs })
    const lapsed = under.newClaim({ windowMs: 100 * under.leaseMs })
    for (const claim of [over, kept, lapsed]) await under.store.tryClaim(claim)
    for (const claim of [over, kept]) await under.change(under.store.complete(claim, answer, undefined))
    await under.advance(under.leaseMs + margin)
    check((await under.store.sweep(1_000)) >= 0, 'a count')
    const left: (string | undefined)[] = []
    for (const { key } of [over, kept, lapsed]) left.push((await under.store.get(key))?.state)
    equal(left, [undefined, 'completed', 'in_flight'], 'what is left')
  })

  law('law 10: a refused claim takes its unit with it, and a claim in a unit is there with it', async (under) => {
    const { store } = under
    const first = await under.claimed({})
    const beside = under.newClaim({})
    const refused = store.unit()
    refused.add(store.claim(beside))
    if (!store.joinable) {
      let code: unknown
      try {
        refused.add(store.claim(under.newClaim({})))
      } catch (error) {
        code = (error as { code?: unknown }).code
      }
      equal(code, 'invalid_option', 'a second write')
      const held = store.unit()
      held.add(store.claim(under.newClaim({ key: under.key })))
      equal(await codeAndReason(held), 'refused held', 'a claim on a held key')
      return
    }
    refused.add(store.claim(under.newClaim({ key: under.key })))
    equal(await codeAndReason(refused), 'refused held', 'the refused unit')
    equal(await store.get(beside.key), undefined, 'the claim beside it')
    const unit = store.unit()
    let fence: unknown
    unit.add(store.claim({ ...beside, link: 'run-2' }), (result) => {
      fence = result
    })
    unit.add(store.complete(first, answer, undefined))
    await unit.commit()
    const record = await store.get(beside.key)
    equal([record?.link, record?.fence], ['run-2', fence], 'the claim')
    equal((await store.get(under.key))?.state, 'completed', 'the completion beside it')
  })

  law('a secret is made once, and another one is refused', async (under) => {
    const { store, second = store } = under
    const secret = await store.secret(undefined)
    check(secret.length >= 32, 'thirty-two bytes')
    equal([...(await second.secret(undefined))], [...secret], 'the same secret')
    equal([...(await second.secret(secret.slice()))], [...secret], 'the same secret, given')
    await store.tryClaim(under.newClaim({}))
    const code = await second.secret(new Uint8Array(32).fill(7)).then(
      () => 'accepted',
      (error: { code?: string }) => error.code,
    )
    equal(code, 'secret_mismatch', 'another secret')
  })

  law('hostile keys stay apart', async (under) => {
    const { store } = under
    const names = ['__proto__', 'constructor', 'toString', '../../etc/x', 'a\u0000b', 'a:b', 'A', 'a', '{a}', '*', '%']
    const claims = names.map((name) => under.newClaim({ key: `${randomKey()}${name.replaceAll('\u0000', '')}` }))
    for (const claim of claims) equal((await store.tryClaim(claim)).kind, 'claimed', claim.key)
    for (const claim of claims) equal((await store.get(claim.key))?.token, claim.token, claim.key)
  })
}

function codeAndReason(unit: Unit): Promise<string> {
  return unit.commit().then(
    () => 'committed',
    (error: { code?: string; reason?: unknown }) => `${error.code} ${String(error.reason)}`,
  )
}

const margin = 60

const answer: StoredResponse = {
  status: 201,
  headers: [
    ['content-type', 'application/octet-stream'],
    ['link', '<a>; rel="x"'],
    ['link', '<b>; rel="y"'],
  ],
  body: Uint8Array.from({ length: 256 }, (_, i) => i),
}

class Under {
  readonly store: DedupStore
  readonly second: DedupStore | undefined
  readonly key: string = randomKey()
  readonly leaseMs: number
  readonly #harness: DedupStoreHarness

  constructor(harness: DedupStoreHarness) {
    this.#harness = harness
    this.store = harness.store
    this.second = harness.second
    this.leaseMs = harness.leaseMs ?? 300
  }

  newClaim(more: Partial<NewClaim>): NewClaim {
    return {
      key: randomKey(),
      token: randomKey(),
      fingerprint: 'fingerprint',
      principalHash: 'principal',
      link: undefined,
      leaseMs: this.leaseMs,
      windowMs: 10 * this.leaseMs,
      replaces: undefined,
      ...more,
    }
  }

  advance(ms: number): Promise<void> {
    return this.#harness.advance(ms)
  }

  async claimed(more: Partial<NewClaim>): Promise<KeyLink> {
    const claim = this.newClaim({ key: this.key, ...more })
    equal((await this.store.tryClaim(claim)).kind, 'claimed', 'a free key')
    return { key: claim.key, token: claim.token }
  }

  async change(write: Write): Promise<Settlement> {
    const unit = this.store.unit()
    let settlement: Settlement = 'stale'
    unit.add(write, (result) => {
      settlement = result as Settlement
    })
    await unit.commit()
    return settlement
  }
}

function randomKey(): string {
  return crypto.randomUUID().replaceAll('-', '')
}

function plain({ status, headers, body }: NonNullable<KeyRecord['response']>) {
  return { status, headers: headers.map((field) => [...field]), body: body === undefined ? 'none' : [...body] }
}

function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`Expected ${what}`)
}

function equal(actual: unknown, expected: unknown, what: string): void {
  const [got, wanted] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (got !== wanted) throw new Error(`Expected ${what} to be ${wanted}, got ${got}`)
}
