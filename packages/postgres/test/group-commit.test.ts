import { freshDatabase } from '@gw/services'
import { sql } from 'drizzle-orm'
import { pgTable, text } from 'drizzle-orm/pg-core'
import { drizzle } from 'drizzle-orm/postgres-js'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { postgresDatabase } from '../src/index.ts'
import { append, code, commit, type Items, items, put, refuse } from './items.ts'

const open: Items[] = []

async function fresh(options: Parameters<typeof items>[1] = {}): Promise<Items> {
  const made = await items(await freshDatabase(), options)
  open.push(made)
  return made
}

/** Holds the first call of a procedure until `release`, so that units gather meanwhile. */
function holdFirst(made: Items): { readonly held: Promise<void>; release(): void } {
  let release = () => {}
  let holding = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const held = new Promise<void>((resolve) => {
    holding = resolve
  })
  let first = true
  made.before(async () => {
    if (!first) return
    first = false
    holding()
    await released
  })
  return { held, release }
}

afterEach(async () => {
  for (const made of open.splice(0)) await made.close()
})

describe('units', () => {
  test('U1: the writes of a unit over two procedures are all applied, and their results given before commit resolves', async () => {
    const { db, keys } = await fresh()
    const told: unknown[] = []
    const unit = db.unit()
    unit.add(put('a'), (result) => told.push(result))
    unit.add(append('b'), (result) => told.push(result))
    const level = unit.commit().then((reached) => told.push(reached))
    await level
    expect(told).toEqual(['put a', 'appended b', 'fsync'])
    expect([await keys(), await keys('entry')]).toEqual([['a'], ['b']])
  })

  test('U1: a unit with one refusal, before or after its other writes, leaves nothing', async () => {
    const { db, keys } = await fresh()
    expect(await code(commit(db, append('x'), refuse('no'), append('y')))).toBe('refused')
    expect(await code(commit(db, refuse('no'), put('x')))).toBe('refused')
    expect([await keys(), await keys('entry')]).toEqual([[], []])
  })

  test('U2: of 50 concurrent units the refused one alone is rejected, with its reason', async () => {
    const { db, keys } = await fresh({ lanes: 1 })
    await commit(db, put('k7'))
    const results = await Promise.allSettled(
      Array.from({ length: 50 }, (_, i) => commit(db, append(`e${i}`), put(`k${i}`))),
    )
    expect(results.map(({ status }, i) => (status === 'rejected' ? i : -1)).filter((i) => i >= 0)).toEqual([7])
    expect(results[7]).toMatchObject({ reason: { code: 'refused', reason: { held: 'k7' } } })
    expect((await keys()).length).toBe(50)
    expect((await keys('entry')).length).toBe(49)
  })

  test('U2: many refusals, found by several procedures, cost no other unit its place', async () => {
    const { db, keys } = await fresh({ lanes: 1 })
    const results = await Promise.allSettled(
      Array.from({ length: 60 }, (_, i) =>
        commit(db, put(`k${i}`), ...(i % 3 === 0 ? [refuse('no')] : []), put(i % 5 === 0 ? 'same' : `l${i}`)),
      ),
    )
    const kept = results.filter(({ status }) => status === 'fulfilled').length
    expect(kept).toBe(33)
    expect((await keys()).length).toBe(66)
  })

  test('U2: procedures of one statement follow each other without waiting, and refuse all the same', async () => {
    const made = await fresh({ lanes: 1 })
    const answered: string[] = []
    for (const name of ['one', 'two', 'three']) {
      made.db.define<string>(name, {
        locks: () => [],
        oneStatement: true,
        async run(tx, batch) {
          answered.push(`${name} sent`)
          await tx.execute(sql`insert into entry (key) select unnest(${sql.param(batch)}::text[])`)
          answered.push(`${name} answered`)
          return batch.map((key) => (key === `bad ${name}` ? { refused: name } : { result: key }))
        },
      })
    }
    const unit = (...keys: string[]) =>
      code(commit(made.db, ...keys.map((key) => ({ procedure: key.replace(/^bad /, ''), args: key }))))
    expect(await unit('one', 'two', 'three')).toBe('no error')
    expect(await unit('one', 'two', 'three')).toBe('no error')
    // The first time the statement was described before it was prepared.
    expect(answered.slice(-6).slice(0, 3)).toEqual(['one sent', 'two sent', 'three sent'])
    expect(await Promise.all([unit('one', 'two', 'bad three'), unit('one', 'two'), unit('bad one', 'three')])).toEqual([
      'refused',
      'no error',
      'refused',
    ])
    expect(await made.keys('entry')).toHaveLength(8)
  })

  test('U2: what a refused unit wrote makes no other one be refused', async () => {
    const made = await fresh({ lanes: 1 })
    made.db.define<string>('add', {
      locks: () => [],
      oneStatement: true,
      async run(tx, batch) {
        await tx.execute(sql`insert into entry (key) select unnest(${sql.param(batch)}::text[])`)
        return batch.map(() => ({ result: 1 }))
      },
    })
    for (const oneStatement of [true, false]) {
      made.db.define<string>('few', {
        locks: () => [],
        oneStatement,
        async run(tx, batch) {
          const [row] = await tx.execute(sql`select count(*)::int as n from entry`)
          return batch.map(() => (Number(row?.['n']) > 1 ? { refused: 'too many' } : { result: 1 }))
        },
      })
      await made.client`delete from entry`
      const add = { procedure: 'add', args: 'x' }
      await code(commit(made.db, put('held')))
      const first = holdFirst(made)
      const opening = commit(made.db, put(`open ${oneStatement}`))
      await first.held
      const told = [code(commit(made.db, put('held'), add)), code(commit(made.db, add, { procedure: 'few', args: '' }))]
      first.release()
      expect(await Promise.all([...told, code(opening)])).toEqual(['refused', 'no error', 'no error'])
    }
  })

  test('U3: an error of a statement is its own unit’s, wherever it is in the batch', async () => {
    const { db, keys } = await fresh({ lanes: 1 })
    const results = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        code(commit(db, append(`e${i}`), put(`k${i}`, i === 23 ? { value: 'bad' } : {}))),
      ),
    )
    expect(results.filter((result) => result !== 'no error')).toEqual(['constraint'])
    expect(results[23]).toBe('constraint')
    expect((await keys('entry')).length).toBe(39)
  })

  test('U3: what a procedure sends goes in the order of the calls, and an error of what it did not wait for is its own unit’s', async () => {
    const { db, keys } = await fresh({ lanes: 1 })
    db.define<string>('hasty', {
      locks: () => [],
      async run(_tx, batch, send) {
        const [, [row]] = await Promise.all([
          send(sql`insert into entry (key) select unnest(${sql.param(batch)}::text[])`),
          send(sql.raw('select count(*)::int as n from entry')),
        ])
        for (const key of batch)
          void send(sql`insert into item (key, value) values (${key}, ${key.startsWith('bad') ? 'bad' : 'good'})`)
        return batch.map(() => ({ result: row?.['n'] }))
      },
    })
    const hasty = (key: string) => ({ procedure: 'hasty', args: key })
    const seen: unknown[] = []
    const unit = db.unit()
    unit.add(hasty('first'), (n) => seen.push(n))
    await unit.commit()
    expect(seen).toEqual([1])
    const told = ['a', 'bad b', 'c', 'first'].map((key) => code(commit(db, append(key), hasty(key))))
    expect(await Promise.all(told)).toEqual(['no error', 'constraint', 'no error', 'constraint'])
    expect(await keys()).toEqual(['first', 'a', 'c'])
    expect((await keys('entry')).sort()).toEqual(['a', 'a', 'c', 'c', 'first'])
    const within = db.transaction(async (tx) => {
      const inner = db.unitIn(tx)
      inner.add(hasty('bad d'))
      return [await code(inner.commit()), (await tx.execute(sql`select 1 as one`))[0]?.['one']]
    })
    expect(await within).toEqual(['constraint', 1])
    expect(await keys()).toEqual(['first', 'a', 'c'])
  })

  test('U3: a procedure of one statement may send it at once', async () => {
    const { db } = await fresh()
    db.define<string>('sends', {
      locks: () => [],
      oneStatement: true,
      async run(_tx, batch, send) {
        const rows = await send(sql`select count(*)::int as n from entry`)
        return batch.map(() => ({ result: rows[0]?.['n'] }))
      },
    })
    const told: unknown[] = []
    const unit = db.unit()
    unit.add({ procedure: 'sends', args: 'a' }, (n) => told.push(n))
    expect([await unit.commit(), told]).toEqual(['fsync', [0]])
  })

  test('U3: a procedure that is absent, throws, answers too little or breaks its promise fails its own unit', async () => {
    const { db, keys } = await fresh()
    db.define('throws', { locks: () => [], run: async () => Promise.reject(new TypeError('mine')) })
    db.define('short', { locks: () => [], run: async () => [] })
    db.define('twice', {
      locks: () => [],
      oneStatement: true,
      async run(tx, batch) {
        await tx.execute(sql`select 1`)
        await tx.execute(sql`insert into item (key) values ('sneaked')`)
        return batch.map(() => ({ result: 1 }))
      },
    })
    const codes = await Promise.all([
      ...['throws', 'short', 'twice', 'absent'].map((procedure) => code(commit(db, { procedure, args: null }))),
      code(commit(db, put('good'))),
    ])
    expect(codes).toEqual(['procedure_failed', 'procedure_failed', 'procedure_failed', 'procedure_failed', 'no error'])
    expect(await keys()).toEqual(['good'])
  })

  test('U3: a procedure that goes on after its transaction was rolled back sends nothing more', async () => {
    const { db, keys } = await fresh({ lanes: 1 })
    let goOn = () => {}
    const failed = new Promise<void>((resolve) => {
      goOn = resolve
    })
    let fail = (_error: Error) => {}
    const failing = new Promise<never>((_, reject) => {
      fail = reject
    })
    let late: Promise<unknown> | undefined
    db.define('slow.step', {
      locks: () => [],
      async run(tx, batch) {
        await tx.execute(sql`select 1`)
        late = failed.then(() => tx.execute(sql`insert into item (key) values ('late')`))
        fail(new Error('mine'))
        await late
        return batch.map(() => ({ result: 1 }))
      },
    })
    db.define('other.step', { locks: () => [], run: () => failing })
    const both = commit(db, { procedure: 'slow.step', args: null }, { procedure: 'other.step', args: null })
    expect(await code(both)).toBe('procedure_failed')
    goOn()
    await expect(late).rejects.toThrow()
    expect(await keys()).toEqual([])
  })

  test('U3: the error of a statement names no parameter', async () => {
    const { db } = await fresh()
    const error = await commit(db, put('k', { value: 'bad' })).catch((refused: Error) => refused)
    expect(String(error)).not.toContain('insert into')
    expect(JSON.stringify(error)).not.toContain('bad')
  })

  test('a unit commits once, and takes nothing afterwards', async () => {
    const { db } = await fresh()
    const unit = db.unit()
    unit.add(put('a'))
    await unit.commit()
    expect(await code(unit.commit())).toBe('invalid_option')
    expect(() => unit.add(put('b'))).toThrow('committed')
  })
})

describe('group commit', () => {
  test('P1: stores that share no tables go side by side in one commit; a refusal or an error of one takes the whole unit back', async () => {
    const made = await fresh({ lanes: 1 })
    const happened: string[] = []
    for (const [name, oneStatement] of [
      ['slow.step', false],
      ['quick.step', true],
    ] as const)
      made.db.define<{ readonly key: string; readonly does?: 'refuse' | 'fail' }>(name, {
        locks: () => [],
        oneStatement,
        async run(tx, batch) {
          happened.push(`${name} begins`)
          const failing = batch.some(({ does }) => does === 'fail')
          await tx.execute(
            failing
              ? sql`select 1 / 0`
              : sql`insert into entry (key) select json_array_elements_text(${JSON.stringify(batch.map(({ key }) => key))}::text::json)`,
          )
          happened.push(`${name} has its first answer`)
          if (!oneStatement) await tx.execute(sql`select ${'second'}::text`)
          return batch.map(({ does }) => (does === 'refuse' ? { refused: 'no' } : { result: name }))
        },
      })
    const both = (key: string, does?: 'refuse' | 'fail') =>
      commit(
        made.db,
        { procedure: 'slow.step', args: { key: `slow ${key}`, does } },
        { procedure: 'quick.step', args: { key: `quick ${key}` } },
      )
    await both('1')
    expect(happened.slice(0, 2)).toEqual(['quick.step begins', 'slow.step begins'])
    const ends = await Promise.all([both('2', 'refuse'), both('3'), both('4', 'fail'), both('5')].map(code))
    expect(ends).toEqual(['refused', 'no error', 'procedure_failed', 'no error'])
    const kept = ['1', '3', '5'].flatMap((n) => [`quick ${n}`, `slow ${n}`])
    expect((await made.keys('entry')).sort()).toEqual(kept.sort())
  })

  test('P3: a procedure after the others begins when the last one of every other store has, wherever its unit names it', async () => {
    const made = await fresh({ lanes: 1 })
    const begun: string[] = []
    for (const [name, about] of [
      ['log.append', { afterOthers: true }],
      ['rows.claim', {}],
      ['rows.finish', {}],
      ['keys.settle', { oneStatement: true }],
    ] as const)
      made.db.define<undefined>(name, {
        ...about,
        locks: () => [],
        async run(tx, batch) {
          begun.push(name)
          await tx.execute(sql`select ${name}::text`)
          return batch.map(() => ({ result: undefined }))
        },
      })
    const steps = ['log.append', 'rows.claim', 'rows.finish', 'keys.settle']
    await commit(made.db, ...steps.map((procedure) => ({ procedure, args: undefined })))
    expect(begun).toEqual(['keys.settle', 'rows.claim', 'rows.finish', 'log.append'])
  })

  test('P1: a batch finds its rows by key, by a plan made while the table was empty', async () => {
    const made = await fresh({ lanes: 1 })
    const plans: string[] = []
    made.db.define<{ readonly key: string }>('explained', {
      locks: () => [],
      async run(tx, batch) {
        const rows = await tx.execute<{ 'QUERY PLAN': string }>(
          sql`explain update item set value = n.value from json_to_recordset(${JSON.stringify(batch)}::text::json) as n(key text, value text)
            where item.key = n.key`,
        )
        plans.push(rows.map((row) => row['QUERY PLAN']).join('\n'))
        return batch.map(() => ({ result: undefined }))
      },
    })
    await commit(made.db, { procedure: 'explained', args: { key: 'a' } })
    expect(plans[0]).toMatch(/Nested Loop[\s\S]*Index Scan using \w+ on item/)
    expect(plans[0]).not.toMatch(/Seq Scan on item|JIT/)
  })

  test('P1: 1,000 concurrent units take few transactions, by the count of the server', async () => {
    const { db, keys, client } = await fresh()
    const count = async () => {
      const [row] = await client`select xact_commit::int as n from pg_stat_database where datname = current_database()`
      return Number(row?.['n'])
    }
    await commit(db, put('warm'))
    await client`select pg_stat_force_next_flush()`
    const before = await count()
    await Promise.all(Array.from({ length: 1_000 }, (_, i) => commit(db, put(`k${i}`), append(`k${i}`))))
    await db.close()
    await client`select pg_stat_force_next_flush()`
    const after = await count()
    expect(db.health.writes).toBe(2_001)
    expect(db.health.commits).toBeLessThan(20)
    expect(after - before).toBeLessThan(40)
    open.splice(0)
    await client.end()
    expect(keys).toBeTypeOf('function')
  })

  test('P1: a batch costs one call of each procedure', async () => {
    const made = await fresh({ lanes: 1 })
    const first = holdFirst(made)
    const opening = commit(made.db, put('first'))
    await first.held
    const rest = Array.from({ length: 100 }, (_, i) => commit(made.db, put(`k${i}`), append(`e${i}`)))
    first.release()
    await Promise.all([opening, ...rest])
    expect(made.batches.map(({ procedure, keys }) => [procedure, keys.length])).toEqual([
      ['put', 1],
      ['put', 100],
      ['append', 100],
    ])
  })

  test('P2: units that name a thing alone never share a commit, those that share it do', async () => {
    const made = await fresh({ lanes: 2 })
    const alone = [{ name: 'thing', shared: false }]
    const shared = [{ name: 'thing', shared: true }]
    const first = holdFirst(made)
    const opening = commit(made.db, append('first', { locks: alone }))
    await first.held
    const rest = [alone, alone, shared, shared, shared, alone].map((locks, i) =>
      commit(made.db, append(`${i}`, { locks })),
    )
    first.release()
    await Promise.all([opening, ...rest])
    expect(made.batches.map(({ keys }) => keys.join())).toEqual(['first', '0', '1', '2,3,4', '5'])
  })

  test('P2: of several lanes one is left to units of one statement, while those that take more wait for each other', async () => {
    const made = await fresh({ lanes: 2 })
    const first = holdFirst(made)
    const opening = commit(made.db, append('first'))
    await first.held
    const waiting = ['second', 'third'].map((key) => commit(made.db, append(key)))
    await commit(made.db, put('quick'))
    expect(await made.keys('entry')).toEqual([])
    first.release()
    await Promise.all([opening, ...waiting])
    expect(made.batches.map(({ keys }) => keys.join())).toEqual(['first', 'quick', 'second,third'])
  })

  test('P2: units that wait for a thing keep their order, and others go past them', async () => {
    const made = await fresh({ lanes: 3 })
    const on = (...names: string[]) => ({ locks: names.map((name) => ({ name, shared: false })) })
    const first = holdFirst(made)
    const opening = commit(made.db, append('first', on('a')))
    await first.held
    const waiting = [
      commit(made.db, append('a and b', on('a', 'b'))),
      commit(made.db, append('b', on('b'))),
      commit(made.db, append('c', on('c'))),
    ]
    await waiting[2]
    first.release()
    await Promise.all([opening, ...waiting])
    expect(await made.keys('entry')).toEqual(['c', 'first', 'a and b', 'b'])
  })

  test('P2: writes of one unit that touch the same thing are run one after the other', async () => {
    const made = await fresh()
    const locks = [{ name: 'thing', shared: false }]
    await commit(made.db, append('1', { locks }), append('2', { locks }), append('3'), append('4'))
    expect(made.batches.map(({ keys }) => keys)).toEqual([['1'], ['2', '3', '4']])
    const shared = [{ name: 'thing', shared: true }]
    await commit(made.db, append('5', { locks: shared }), append('6', { locks: shared }))
    expect(made.batches.at(-1)?.keys).toEqual(['5', '6'])
  })

  test('P3: a conflict with another session is run again', async () => {
    const made = await fresh()
    let left = 3
    made.db.define('unlucky', {
      locks: () => [],
      async run(tx, batch) {
        if (left-- > 0) await tx.execute(sql`do $$ begin raise exception using errcode = '40001'; end $$`)
        await tx.execute(sql`insert into item (key) values ('lucky')`)
        return batch.map(() => ({ result: 1 }))
      },
    })
    expect(await commit(made.db, { procedure: 'unlucky', args: null })).toBe('fsync')
    expect([left, await made.keys()]).toEqual([-1, ['lucky']])
    left = 1_000
    expect(await code(commit(made.db, { procedure: 'unlucky', args: null }))).toBe('unavailable')
    expect(1_000 - left).toBe(9)
  })

  test('P3: two processes that lock rows in opposite order both get through', async () => {
    const url = await freshDatabase()
    const [a, b] = [await items(url), await items(url)]
    open.push(a, b)
    await commit(a.db, put('x'), put('y'))
    for (const { db } of [a, b]) {
      db.define<{ readonly first: string; readonly then: string }>('both', {
        locks: () => [{ name: 'both', shared: false }],
        async run(tx, batch) {
          for (const { first, then } of batch) {
            for (const key of [first, then]) {
              await tx.execute(sql`update item set value = coalesce(value, '') || '.' where key = ${key}`)
            }
          }
          return batch.map(() => ({ result: 1 }))
        },
      })
    }
    const both = (made: Items, first: string, then: string) =>
      commit(made.db, { procedure: 'both', args: { first, then } })
    await Promise.all(Array.from({ length: 3 }, () => [both(a, 'x', 'y'), both(b, 'y', 'x')]).flat())
    const rows = await a.db.query<{ n: number }>(sql`select length(value) as n from item`)
    expect(rows).toEqual([{ n: 6 }, { n: 6 }])
  })

  test('P4: beyond maxPending units are refused, or wait for room', async () => {
    const refusing = await fresh({ lanes: 1, maxPending: 2, onFull: 'refuse' })
    const first = holdFirst(refusing)
    const taken = [commit(refusing.db, put('1'))]
    await first.held
    taken.push(commit(refusing.db, put('2')))
    expect(await code(commit(refusing.db, put('3')))).toBe('write_queue_full')
    first.release()
    await Promise.all(taken)
    const waiting = await fresh({ lanes: 1, maxPending: 2 })
    await Promise.all(Array.from({ length: 50 }, (_, i) => commit(waiting.db, put(`k${i}`))))
    expect((await waiting.keys()).length).toBe(50)
  })

  test('P2 P4: what waits for room comes before what comes later, whoever it is that makes the room', async () => {
    const made = await fresh({ lanes: 1, maxPending: 1 })
    const append1 = (key: string) => commit(made.db, append(key, { locks: [{ name: 'entries', shared: false }] }))
    const first = append1('first')
    const second = append1('second')
    await Promise.all([first.then(() => append1('third')), second])
    expect(await made.keys('entry')).toEqual(['first', 'second', 'third'])
  })

  test('P5: close commits what is pending and refuses what comes later', async () => {
    const { db, client } = await fresh()
    await Promise.all([db.query(sql`select 1`), db.transaction(async (tx) => tx.execute(sql`select 1`))])
    await db.listen('news', () => {})
    const pending = Array.from({ length: 20 }, (_, i) => commit(db, put(`k${i}`)))
    const closing = db.close()
    expect(await code(commit(db, put('late')))).toBe('closed')
    await Promise.all([...pending, closing])
    expect(await code(db.query(sql`select 1`))).toBe('closed')
    expect((await client`select count(*)::int as n from item`)[0]).toEqual({ n: 20 })
    expect(db.health).toMatchObject({ state: 'closed', pendingWrites: 0, writes: 20 })
    const others = async () =>
      (
        await client`select count(*)::int as n from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`
      )[0]
    await expect.poll(others).toEqual({ n: 0 })
  })

  test('P5: close waits for the transactions that run, and ends their connections', async () => {
    const { db, client } = await fresh()
    let closing: Promise<void> | undefined
    await db.transaction(async (tx) => {
      closing = db.close()
      await tx.execute(sql`insert into item (key) values ('a')`)
    })
    await closing
    expect(await client`select key from item`).toEqual([{ key: 'a' }])
    const others = async () =>
      (
        await client`select count(*)::int as n from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`
      )[0]
    await expect.poll(others).toEqual({ n: 0 })
  })

  test('law: any schedule of units, with refusals, keys that are held and bad rows, equals the units run one by one', async () => {
    const unit = fc.array(
      fc.oneof(
        fc.record({ kind: fc.constantFrom('put', 'bad'), key: fc.constantFrom('a', 'b', 'c', 'd', 'e') }),
        fc.record({ kind: fc.constant('append'), key: fc.constantFrom('x', 'y') }),
        fc.record({ kind: fc.constant('refuse'), key: fc.constant('no') }),
      ),
      { minLength: 1, maxLength: 4 },
    )
    const made = await fresh()
    await fc.assert(
      fc.asyncProperty(fc.array(unit, { minLength: 1, maxLength: 12 }), async (units) => {
        await made.client.unsafe('delete from item; delete from entry')
        const held = new Set<string>()
        const entries: string[] = []
        // A unit with several faults is told one of them: its writes are checked by procedure, not one by one.
        const expected = units.map((writes) => {
          const faults = new Set<string>()
          const mine = new Set<string>()
          for (const { kind, key } of writes) {
            if (kind === 'refuse') faults.add('refused')
            else if (kind === 'bad') faults.add('constraint')
            else if (kind === 'put' && (held.has(key) || mine.has(key))) faults.add('refused')
            if (kind !== 'append') mine.add(key)
          }
          if (faults.size > 0) return faults
          for (const key of mine) held.add(key)
          for (const { kind, key } of writes) if (kind === 'append') entries.push(key)
          return new Set(['no error'])
        })
        const lock = { locks: [{ name: 'entries', shared: false }] }
        const actual = await Promise.all(
          units.map((writes) =>
            code(
              commit(
                made.db,
                ...writes.map(({ kind, key }) =>
                  kind === 'refuse'
                    ? refuse(key)
                    : kind === 'append'
                      ? append(key, lock)
                      : put(key, kind === 'bad' ? { value: 'bad' } : {}),
                ),
              ),
            ),
          ),
        )
        actual.forEach((told, i) => {
          expect([...expected[i]!]).toContain(told)
        })
        expect(new Set(await made.keys())).toEqual(held)
        expect(await made.keys('entry')).toEqual(entries)
      }),
      { numRuns: Number(process.env['GW_PROPERTY_RUNS'] ?? 40) },
    )
  })
})

describe('the database', () => {
  test('is the same object for the same `db`, and refuses other options and unknown ones', async () => {
    const { db, client } = await fresh({ lanes: 1 })
    expect(postgresDatabase(db.db)).toBe(db)
    expect(postgresDatabase(db.db, { lanes: 1 })).toBe(db)
    expect(() => postgresDatabase(db.db, { lanes: 3 })).toThrow('options')
    const other = drizzle(client)
    for (const options of [
      { lanes: 0 },
      { deadlineMs: -1 },
      { deadlineMs: 2 ** 31 },
      { maxPending: 1.5 },
      { onFull: 'drop' },
      { lane: 1 },
    ]) {
      expect(() => postgresDatabase(other, options as never)).toThrow('Expected `')
    }
    expect(() => postgresDatabase({} as never)).toThrow('postgres.js')
    await db.close()
    const again = postgresDatabase(db.db, { lanes: 3 })
    expect(await again.query(sql`select 1 as one`)).toEqual([{ one: 1 }])
    await again.close()
  })

  test('D1: the level is what the server does: fsync, os or memory', async () => {
    const url = await freshDatabase()
    const name = new URL(url).pathname.slice(1)
    const made = await items(url)
    open.push(made)
    expect(await commit(made.db, put('a'))).toBe('fsync')
    await made.client.unsafe(`alter database ${name} set synchronous_commit = off`)
    const weaker = await items(url)
    open.push(weaker)
    expect(await commit(weaker.db, put('b'))).toBe('memory')
    await made.client.unsafe(`alter database ${name} set synchronous_commit = local`)
    const local = await items(url)
    open.push(local)
    expect(await commit(local.db, put('c'))).toBe('fsync')
  })

  test('T1: a transaction commits, an error of the caller’s passes through and leaves nothing', async () => {
    const { db, keys } = await fresh()
    expect(
      await db.transaction(async (tx) => (await tx.execute(sql`insert into item (key) values ('a') returning key`))[0]),
    ).toEqual({ key: 'a' })
    const mine = new Error('mine')
    const thrown = await db
      .transaction(async (tx) => {
        await tx.execute(sql`insert into item (key) values ('b')`)
        throw mine
      })
      .catch((error: unknown) => error)
    expect(thrown).toBe(mine)
    // Not even with the next one on its connection.
    await db.transaction(async (tx) => tx.execute(sql`insert into item (key) values ('c')`))
    const refused = Object.assign(new Error('mine'), { code: 'ECONNREFUSED' })
    const cause = new TypeError('fetch failed', { cause: refused })
    expect(await db.transaction(() => Promise.reject(cause)).catch((error: unknown) => error)).toBe(cause)
    const swallowed = db.transaction(async (tx) => {
      await tx.execute(sql`select 1/0`).catch(() => {})
    })
    expect(await code(swallowed)).toBe('procedure_failed')
    expect(await keys()).toEqual(['a', 'c'])
  })

  test('T1: a statement after the end of its transaction is refused', async () => {
    const { db, keys } = await fresh()
    let kept: Parameters<Parameters<typeof db.transaction>[0]>[0] | undefined
    await db.transaction(async (tx) => {
      kept = tx
    })
    expect(await code(kept!.execute(sql`insert into item (key) values ('late')`))).toContain('Failed query')
    expect(await keys()).toEqual([])
  })

  test('T2: unitIn applies the writes in the caller’s transaction, all or none', async () => {
    const { db, keys } = await fresh()
    await db.transaction(async (tx) => {
      const unit = db.unitIn(tx)
      unit.add(put('a'))
      unit.add(append('b'))
      expect(await unit.commit()).toBe('fsync')
      const refused = db.unitIn(tx)
      refused.add(append('c'))
      refused.add(put('a'))
      expect(await code(refused.commit())).toBe('refused')
      await tx.execute(sql`insert into item (key) values ('mine')`)
    })
    expect([await keys(), await keys('entry')]).toEqual([['a', 'mine'], ['b']])
    await db
      .transaction(async (tx) => {
        const unit = db.unitIn(tx)
        unit.add(put('z'))
        await unit.commit()
        throw new Error('mine')
      })
      .catch(() => {})
    expect(await keys()).toEqual(['a', 'mine'])
  })

  test('T2: unitIn joins a transaction that drizzle opened on the client itself', async () => {
    const { db, keys } = await fresh()
    await db.db.transaction(async (tx) => {
      const unit = db.unitIn(tx)
      unit.add(put('a'))
      await unit.commit()
    })
    expect(await keys()).toEqual(['a'])
  })

  test('more transactions than connections wait their turn', async () => {
    const { db } = await fresh()
    const sum = await Promise.all(
      Array.from({ length: 30 }, (_, i) =>
        db.transaction(async (tx) => Number((await tx.execute(sql`select ${i}::int as i`))[0]?.['i'])),
      ),
    )
    expect(sum.reduce((a, b) => a + b)).toBe(435)
    const one = await fresh({ connect: { maxConnections: 1 } })
    const begun: number[] = []
    await Promise.all([0, 1, 2, 3].map((i) => one.db.transaction(async () => begun.push(i))))
    expect(begun).toEqual([0, 1, 2, 3])
  })

  test('Q1: reads give plain rows, and their errors this package’s codes', async () => {
    const { db } = await fresh()
    const rows = await Promise.all(
      Array.from({ length: 50 }, (_, i) => db.query(sql`select ${i}::int as i, now() as t`)),
    )
    expect(rows.map(([row]) => row?.['i'])).toEqual(Array.from({ length: 50 }, (_, i) => i))
    expect(rows[0]?.constructor).toBe(Array)
    expect(await code(db.query(sql`select 1/0`))).toBe('procedure_failed')
  })
})

describe('the edges', () => {
  test('U1: an error of an onCommitted listener is its own caller’s, and stops nobody else', async () => {
    const { db, keys } = await fresh({ lanes: 1 })
    const unit = db.unit()
    unit.add(put('a'), () => {
      throw new Error('mine')
    })
    expect(await Promise.all([code(unit.commit()), code(commit(db, put('b')))])).toEqual(['mine', 'no error'])
    expect(await code(commit(db, put('c')))).toBe('no error')
    expect(await keys()).toEqual(['a', 'b', 'c'])
  })

  test('P2: a unit that waits for what another lane holds does not keep the process busy', async () => {
    const made = await fresh({ lanes: 2 })
    const locks = [{ name: 'thing', shared: false }]
    const first = holdFirst(made)
    const opening = commit(made.db, append('1', { locks }))
    await first.held
    const waiting = commit(made.db, append('2', { locks }))
    await new Promise((resolve) => setTimeout(resolve, 50))
    const before = process.cpuUsage()
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(process.cpuUsage(before).user).toBeLessThan(150_000)
    first.release()
    await Promise.all([opening, waiting])
    expect(await made.keys('entry')).toEqual(['1', '2'])
  })

  test('drizzle with a schema of the caller’s is taken as well, and its transactions', async () => {
    const { client } = await fresh()
    const mine = pgTable('item', { key: text('key') })
    const typed = drizzle(client, { schema: { mine } })
    const db = postgresDatabase(typed)
    await db.transaction(async (tx) => tx.insert(mine).values({ key: 'typed' }))
    await typed.transaction(async (tx) => {
      const unit = db.unitIn(tx)
      await unit.commit()
    })
    expect(await typed.query.mine.findMany()).toEqual([{ key: 'typed' }])
    await db.close()
  })

  test('arrays go to the server and come back as they were, whatever is in them, on the client too', async () => {
    const { db, client } = await fresh()
    const string = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom('', 'NULL', '"', '\\', '{', '}', ',', ' ', 'é\n'),
    )
    const texts = fc.array(fc.option(string.filter((value) => !value.includes('\0'))), { maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(texts, fc.array(fc.integer()), async (strings, numbers) => {
        const [row] = await db.query(
          sql`select ${sql.param(strings)}::text[] as strings, ${sql.param(numbers)}::int[] as numbers`,
        )
        expect(row).toEqual({ strings, numbers })
      }),
      { numRuns: 60 },
    )
    expect(await db.query(sql`select '{{1,2},{3,NULL}}'::int[] as nested`)).toEqual([
      {
        nested: [
          [1, 2],
          [3, null],
        ],
      },
    ])
    await client`select 1`
    expect((await client`select ${client.array(['a', 'b'])}::text[] as a`)[0]).toEqual({ a: ['a', 'b'] })
  })
})
