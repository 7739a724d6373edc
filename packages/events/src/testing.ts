import { hexOf, sameBytes } from './bytes.ts'
import { chainHash, crc32, frameOf, genesis, type NewEvent, type StoredEvent } from './event.ts'
import { newEventId } from './event-id.ts'
import { type AppendResult, type EventLog, type Expected, registerOf } from './store.ts'
import type { Unit, Write } from './unit.ts'

/** A store under test, opened anew for each test. */
export interface EventLogUnderTest {
  readonly store: EventLog
  /** A second store on the same database, as another process has one; absent for a store that no other process can share. */
  readonly other?: EventLog
  close(): Promise<void>
}

/** What the suite needs of a test runner and of the store's author. */
export interface EventLogSuite {
  readonly test: (name: string, run: () => Promise<void>) => unknown
  /** Makes an empty log that is open. */
  readonly create: () => Promise<EventLogUnderTest>
}

/** Registers one test for each law of `EventLog` with the test runner that it is given. */
export function testEventLog({ test, create }: EventLogSuite): void {
  const law = (name: string, run: (log: EventLog, under: EventLogUnderTest) => Promise<void>) => {
    test(name, async () => {
      const under = await create()
      try {
        await run(under.store, under)
      } finally {
        await under.close()
      }
    })
  }

  law('V1: none twice: the second conflicts and carries the actual version', async (log) => {
    await append(log, 's', [event()], 'none')
    const refusal = await refused(commit(log, log.append('s', [event()], 'none', 1)))
    same(refusal, { conflict: 'version', actual: 0 })
  })

  law('V1: an exact version, exists and any are held to', async (log) => {
    same(await refused(commit(log, log.append('s', [event()], 'exists', 1))), { conflict: 'version', actual: -1 })
    same(await refused(commit(log, log.append('s', [event()], 0, 1))), { conflict: 'version', actual: -1 })
    await append(log, 's', [event(), event()], 'any')
    await append(log, 's', [event()], 1)
    await append(log, 's', [event()], 'exists')
    same(await refused(commit(log, log.append('s', [event()], 2, 1))), { conflict: 'version', actual: 3 })
    same(
      (await all(log)).map(({ version }) => version),
      [0, 1, 2, 3],
    )
  })

  law('V1: of many appends at one version, one wins and the rest learn the actual version', async (log) => {
    await append(log, 's', [event()], 'none')
    const results = await Promise.allSettled(
      Array.from({ length: 10 }, () => commit(log, log.append('s', [event()], 0, 1))),
    )
    same(results.filter(({ status }) => status === 'fulfilled').length, 1)
    same((await all(log)).length, 2)
  })

  law('V1, O1: fifty parallel appends of any all succeed, with versions 0 to 49', async (log) => {
    const places = (await Promise.all(Array.from({ length: 50 }, () => append(log, 's', [event()], 'any')))).flat()
    const increasing = (a: number, b: number) => a - b
    same(places.map(({ version }) => version).sort(increasing), range(50))
    same(new Set(places.map(({ position }) => position)).size, 50)
  })

  law('V2: the same ids again answer with the first places and leave one copy', async (log) => {
    const batch = [event({ id: 'x', data: '{"a":1}' }), event({ id: 'y' })]
    const first = await append(log, 's', batch, 'none')
    same(await append(log, 's', batch, 'none'), first)
    same((await all(log)).length, 2)
  })

  law('V2: a known id with other content, or beside a new id, conflicts and leaves nothing', async (log) => {
    const batch = [event({ id: 'x', data: '1' }), event({ id: 'y' })]
    await append(log, 's', batch, 'any')
    const attempts = [
      log.append('s', [event({ id: 'x', data: '2' })], 'any', 1),
      log.append('other', [batch[0]!], 'any', 1),
      log.append('s', [batch[0]!, event({ id: 'z' })], 'any', 1),
      log.append('s', [event({ id: 'z' }), batch[0]!], 'any', 1),
      log.append('s', [event({ id: 'z' }), event({ id: 'z' })], 'any', 1),
    ]
    for (const attempt of attempts) same(await refused(commit(log, attempt)), { conflict: 'id' })
    same((await all(log)).length, 2)
  })

  law(
    'V2: where it says so, a repetition is refused with the first places, and the rest of its unit does not happen',
    async (log) => {
      const batch = [event({ id: 'x' })]
      const places = await append(log, 's', batch, 'any')
      const unit = log.unit()
      unit.add(log.setRegister('r', '1', 0))
      unit.add(log.append('s', batch, 'any', 1, 'refuse'))
      same(await refused(unit.commit()), { conflict: 'repetition', places })
      same(await registerOf(log, 'r'), undefined)
    },
  )

  law('O1: positions increase; where gapless, from 1 without gaps, refused appends or not', async (log) => {
    for (let i = 0; i < 5; i++) {
      await append(log, `s${i % 2}`, [event(), event()], 'any')
      await refused(commit(log, log.append('s0', [event()], 999, 1)))
    }
    const positions = (await all(log)).map(({ position }) => position)
    if (log.gapless)
      same(
        positions,
        range(10).map((i) => BigInt(i + 1)),
      )
    else ok(positions.every((position, i) => i === 0 || position > positions[i - 1]!))
  })

  law('O2: times never decrease though the clock does', async (log) => {
    if (!log.gapless) return
    const first = await commitFor<AppendResult[]>(log, log.append('s', [event()], 'any', 5_000))
    const second = await commitFor<AppendResult[]>(log, log.append('s', [event()], 'any', 10))
    ok(second[0]!.time >= first[0]!.time)
  })

  law(
    'T1: the hash of each event is over the one before and the stored bytes, and its checksum over both',
    async (log) => {
      if (!log.gapless) return
      const odd = '{"b":1e2,"a":1,"a":2,"text":"\u00fc\u{1f600}\\u0000"}'
      await append(log, 's', [event({ data: odd, actor: 'J\u00f6rg' }), event(), event()], 'any')
      let before: Uint8Array = genesis
      for (const stored of await all(log)) {
        same(hexOf(chainHash(before, frameOf(stored))), hexOf(stored.hash))
        same(crc32(frameOf(stored), stored.hash), stored.crc)
        before = stored.hash
      }
      same((await all(log))[0]!.data, odd)
      const head = await log.head()
      ok(sameBytes(head.hash, before) && head.position === 3n)
    },
  )

  law('every column comes back as it was given', async (log) => {
    const full = event({
      actor: 'a',
      subject: 'b',
      requestId: 'c',
      correlationId: 'd',
      causationId: 'e',
      traceparent: 'f',
      occurredAt: 1_700_000_000_123,
      schemaVersion: 3,
      redaction: 7,
      data: '{"__proto__":{"x":1}}',
    })
    await append(log, "it's; -- %_", [full], 'any')
    const [stored] = await all(log)
    const { fresh: _, ...kept } = full
    same({ ...stored, ...kept }, { ...stored })
    same(stored!.stream, "it's; -- %_")
  })

  law('Q1: a read shows exactly what its filter says, in order, within its bounds', async (log) => {
    for (let i = 0; i < 20; i++)
      await commit(
        log,
        log.append(
          `s${i % 3}`,
          [event({ type: i % 2 === 0 ? 'even' : 'odd', actor: `a${i % 4}`, subject: `b${i % 5}`, requestId: `r${i}` })],
          'any',
          1_000 * (i + 1),
        ),
      )
    const events = await all(log)
    const places = (found: readonly StoredEvent[]) =>
      found.map(({ position }) => events.findIndex((e) => e.position === position))
    const read = async (filter: object) => places(await log.read({ ...(await bounds(log)), limit: 100, ...filter }))
    same(
      await read({ type: 'even', actor: 'a0' }),
      range(20).filter((i) => i % 4 === 0),
    )
    same(await read({ type: ['even', 'odd'], limit: 3 }), [0, 1, 2])
    same(
      await read({ stream: 's1' }),
      range(20).filter((i) => i % 3 === 1),
    )
    same(await read({ subject: 'b4', stream: 's1' }), [4, 19])
    same(await read({ requestId: 'r7' }), [7])
    same(await read({ after: events[4]!.position, asOf: events[7]!.position }), [5, 6, 7])
    same(
      await read({ from: events[3]!.time, to: events[6]!.time }),
      expectedTimes(events, events[3]!.time, events[6]!.time),
    )
    same(await read({ from: events[19]!.time + 1 }), [])
    same(await log.count({ ...(await bounds(log)), type: 'odd', limit: 100 }), 10)
    same(await log.count({ ...(await bounds(log)), type: 'odd', limit: 4 }), 4)
  })

  law('a unit applies everything or nothing, across streams and registers', async (log) => {
    const unit = log.unit()
    const results: unknown[] = []
    unit.add(log.append('a', [event()], 'none', 1), (result) => results.push(result))
    unit.add(log.append('b', [event()], 'none', 1))
    unit.add(log.setRegister('r', '1', 0), (version) => results.push(version))
    await unit.commit()
    same(results.length, 2)
    same(results[1], 1)
    const broken = log.unit()
    broken.add(log.append('c', [event()], 'none', 1))
    broken.add(log.setRegister('r', '2', 1))
    broken.add(log.append('a', [event()], 'none', 1))
    same(await refused(broken.commit()), { conflict: 'version', actual: 0 })
    same((await all(log)).length, 2)
    same((await registerOf(log, 'r'))?.value, '1')
    await append(log, 'c', [event()], 'none')
  })

  law('S2: a register changes only at the version that is named', async (log) => {
    const set = (value: string | undefined, version: number) => commit(log, log.setRegister('a/1', value, version))
    await set('x', 0)
    same(await refused(set('y', 0)), { conflict: 'register', name: 'a/1', actual: 1 })
    const results = await Promise.allSettled(range(5).map((i) => set(`z${i}`, 1)))
    same(results.filter(({ status }) => status === 'fulfilled').length, 1)
    same((await registerOf(log, 'a/1'))?.version, 2)
    await commit(log, log.setRegister('a/2', '2', 0))
    await commit(log, log.setRegister('b', '3', 0))
    same(
      (await log.registers('a/')).map(({ name }) => name),
      ['a/1', 'a/2'],
    )
    same(
      (await log.registers('a/', 'a/1')).map(({ name }) => name),
      ['a/2'],
    )
    await set(undefined, 2)
    same(await registerOf(log, 'a/1'), undefined)
    same(await refused(set('x', 2)), { conflict: 'register', name: 'a/1', actual: 0 })
  })

  law(
    'R1: dropped events are gone from the front, their streams are not absent, and the chain goes on',
    async (log) => {
      if (!log.gapless) return
      await append(log, 's', [event(), event()], 'any')
      await append(log, 't', [event()], 'any')
      await append(log, 's', [event()], 'any')
      const events = await all(log)
      const wrong = { position: 3n, time: 0, hash: events[1]!.hash }
      same(await refused(commit(log, log.drop(wrong))), { conflict: 'base' })
      await commit(log, log.drop(events[2]!))
      same(
        (await log.read({ after: 0n, asOf: 9n, limit: 9 })).map(({ position }) => position),
        [4n],
      )
      same((await log.base()).position, 3n)
      same(await refused(commit(log, log.append('t', [event()], 'none', 1))), { conflict: 'version', actual: 0 })
      await commit(log, log.drop(events[3]!))
      const head = await log.head()
      ok(head.position === 4n && sameBytes(head.hash, events[3]!.hash) && head.time === events[3]!.time)
      const [next] = await append(log, 's', [event()], 2)
      same(next!.position, 5n)
      const [stored] = await log.read({ after: 4n, asOf: 9n, limit: 9 })
      ok(sameBytes(stored!.hash, chainHash(events[3]!.hash, frameOf(stored!))))
    },
  )

  law('another process on the same database sees and respects all of it', async (log, { other }) => {
    if (other === undefined) return
    await append(log, 's', [event()], 'none')
    same(await refused(commit(other, other.append('s', [event()], 'none', 1))), { conflict: 'version', actual: 0 })
    const writers = range(20).map((i) => append(i % 2 === 0 ? log : other, 's', [event()], 'any'))
    await Promise.all(writers)
    same(
      (await all(other)).map(({ version }) => version),
      range(21),
    )
  })
}

function event(fields: Partial<NewEvent> = {}): NewEvent {
  return {
    id: newEventId(Date.now()),
    fresh: fields.id === undefined,
    type: 'tested',
    actor: null,
    subject: null,
    requestId: null,
    correlationId: null,
    causationId: null,
    traceparent: null,
    occurredAt: null,
    schemaVersion: 1,
    redaction: 1,
    data: '{}',
    ...fields,
  }
}

async function commit(log: EventLog, ...writes: readonly Write[]): Promise<unknown> {
  const unit: Unit = log.unit()
  let last: unknown
  for (const write of writes)
    unit.add(write, (result) => {
      last = result
    })
  await unit.commit()
  return last
}

async function commitFor<Result>(log: EventLog, write: Write): Promise<Result> {
  return (await commit(log, write)) as Result
}

function append(
  log: EventLog,
  stream: string,
  events: readonly NewEvent[],
  expected: Expected,
): Promise<AppendResult[]> {
  return commitFor(log, log.append(stream, events, expected, Date.now()))
}

async function bounds(log: EventLog): Promise<{ readonly after: bigint; readonly asOf: bigint }> {
  return { after: 0n, asOf: (await log.head()).position }
}

async function all(log: EventLog): Promise<StoredEvent[]> {
  return log.read({ ...(await bounds(log)), limit: 1_000 })
}

async function refused(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'refused' && 'reason' in error) return error.reason
    throw error
  }
  throw new Error('Expected the unit to be refused, it was committed')
}

function expectedTimes(events: readonly StoredEvent[], from: number, to: number): number[] {
  return range(events.length).filter((i) => events[i]!.time >= from && events[i]!.time < to)
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}

function ok(holds: boolean): void {
  if (!holds) throw new Error('Expected the law to hold')
}

function same(actual: unknown, expected: unknown): void {
  const [a, e] = [textOf(actual), textOf(expected)]
  if (a !== e) throw new Error(`Expected ${e}, got ${a}`)
}

function textOf(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => {
    if (typeof item === 'bigint') return `${item}n`
    if (item instanceof Uint8Array) return hexOf(item)
    if (typeof item === 'object' && item !== null && !Array.isArray(item))
      return Object.fromEntries(Object.entries(item).sort())
    return item
  })
}
