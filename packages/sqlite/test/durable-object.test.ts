import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import { expect, test } from 'vitest'
import { type DurableObjectStorage, durableObjectDatabase } from '../src/durable-object.ts'
import type { StoreDatabase } from '../src/index.ts'
import { procedures } from './procedures.ts'

const schema = ['CREATE TABLE item (key TEXT UNIQUE, value)']
const put = (key: string, value: unknown = 'v') => ({ procedure: '#test.put', args: { key, value } })
const named = (name: string, args?: unknown) => ({ procedure: `#test.${name}`, args })

/** What `ctx.storage` does, by the platform's documentation; its suite on the platform itself is in `tests/runtimes`. */
class Storage implements DurableObjectStorage {
  readonly #db = new DatabaseSync(':memory:')
  readonly sql = {
    exec: (query: string, ...bindings: unknown[]) => {
      try {
        const rows = this.#db.prepare(query).all(...(bindings as SQLInputValue[]))
        for (const row of rows)
          for (const name in row) if (row[name] instanceof Uint8Array) row[name] = row[name].slice().buffer as never
        return { toArray: () => rows as Record<string, unknown>[] }
      } catch (error) {
        const { message, errcode = 0 } = error as Error & { errcode?: number }
        throw new Error(`${message}: ${(errcode & 0xff) === 19 ? 'SQLITE_CONSTRAINT' : 'SQLITE_ERROR'}`)
      }
    },
  }
  /** What `sync` gives. */
  synced: Promise<void> = Promise.resolve()

  transactionSync<Result>(closure: () => Result): Result {
    this.#db.exec('BEGIN')
    try {
      const result = closure()
      this.#db.exec('COMMIT')
      return result
    } catch (error) {
      this.#db.exec('ROLLBACK')
      throw error
    }
  }

  sync(): Promise<void> {
    return this.synced
  }
}

async function database(): Promise<{ readonly db: StoreDatabase; readonly storage: Storage }> {
  const storage = new Storage()
  const db = durableObjectDatabase(storage)
  await db.migrate('test', schema, procedures)
  return { db, storage }
}

function keys(db: StoreDatabase): string[] {
  return db.reader.all<{ key: string }>('SELECT key FROM item ORDER BY rowid').map(({ key }) => key)
}

function code(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'no error',
    (error: { code: string }) => error.code,
  )
}

test('a unit with a refusal, a constraint failure, a bug or an unknown procedure leaves nothing', async () => {
  const { db } = await database()
  await db.write(put('a'))
  for (const [write, expected] of [
    [named('refuse', { held: true }), 'refused'],
    [put('a'), 'constraint'],
    [named('crash'), 'procedure_failed'],
    [named('absent'), 'procedure_failed'],
    [{ procedure: '#other.put', args: {} }, 'procedure_failed'],
  ] as const) {
    const unit = db.unit()
    unit.add(put('lost'))
    unit.add(write)
    expect(await code(unit.commit())).toBe(expected)
  }
  await expect(db.write(named('refuse', { held: true }))).rejects.toMatchObject({ reason: { held: true } })
  expect(keys(db)).toEqual(['a'])
})

test('what procedures remember is forgotten with what is rolled back, and when a migration changes it', async () => {
  const { db } = await database()
  const refused = db.unit()
  refused.add(named('count'))
  refused.add(named('refuse'))
  expect(await code(refused.commit())).toBe('refused')
  expect([await db.write(named('count')), await db.write(named('count'))]).toEqual([1, 2])
  await db.migrate('test', [...schema, 'DELETE FROM item'], procedures)
  expect(await db.write(named('count'))).toBe(1)
})

test('a unit is acknowledged as replicated when the platform has it, and at `memory` at once', async () => {
  const { db, storage } = await database()
  let confirm = () => {}
  storage.synced = new Promise((resolve) => {
    confirm = resolve
  })
  const order: unknown[] = []
  const unit = db.unit()
  unit.add(put('a'), (changes) => order.push(changes))
  const level = unit.commit().then((reached) => order.push(reached))
  const quick = db.unit({ durability: 'memory' })
  quick.add(put('b'))
  order.push(await quick.commit())
  confirm()
  await level
  expect(order).toEqual(['memory', 1, 'replicated'])
  storage.synced = Promise.reject(new Error('no quorum'))
  expect(await code(db.write(put('c')))).toBe('storage_failed')
})

test('a unit commits once, and takes nothing afterwards', async () => {
  const { db } = await database()
  const unit = db.unit()
  unit.add(put('a'))
  await unit.commit()
  expect(await code(unit.commit())).toBe('invalid_option')
  expect(() => unit.add(put('b'))).toThrow('committed')
})

test('bytes come back as bytes, and big integers go in', async () => {
  const { db } = await database()
  await db.write(put('bytes', Uint8Array.of(1, 2)))
  await db.write(put('position', 2n ** 40n))
  expect(db.reader.all('SELECT value FROM item')).toEqual([{ value: Uint8Array.of(1, 2) }, { value: 2 ** 40 }])
})

test('only the migrations that are missing run, one that fails changes nothing, and a newer schema is refused', async () => {
  const { db } = await database()
  await db.migrate('test', [...schema, 'ALTER TABLE item ADD COLUMN extra'], procedures)
  await db.migrate('test', [...schema, 'ALTER TABLE item ADD COLUMN extra'], procedures)
  expect(await code(db.migrate('test', schema, procedures))).toBe('schema_too_new')
  expect(await code(db.migrate('other', ['CREATE TABLE half (x)', 'not sql']))).toBe('procedure_failed')
  expect(db.reader.get('SELECT 1 FROM sqlite_master WHERE name = ?', 'half')).toBeUndefined()
})
