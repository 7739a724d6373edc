import type { Connection, SqlValue } from '../src/unit.ts'

export const procedures = {
  put(connection: Connection, { key, value }: { key: string; value: string | Uint8Array }): number {
    return connection.run('INSERT INTO item VALUES (?, ?)', key, value)
  },
  /** Says that it is there, and puts when it is let go. */
  putAfter(connection: Connection, { key, gate }: { key: string; gate: Int32Array }): number {
    Atomics.store(gate, 0, 1)
    Atomics.wait(gate, 0, 1)
    return connection.run('INSERT INTO item VALUES (?, ?)', key, 'v')
  },
  /** Puts the next number, which it remembers in place of reading it. */
  count({ known, ...connection }: Connection): number {
    const last = known.get('count') ?? connection.get<{ n: number }>('SELECT count(*) AS n FROM item')!.n
    const next = (last as number) + 1
    connection.run('INSERT INTO item VALUES (?, ?)', String(next), 'counted')
    known.set('count', next)
    return next
  },
  /** Runs any statement. */
  run(connection: Connection, { sql, params = [] }: { sql: string; params?: SqlValue[] }): number {
    return connection.run(sql, ...params)
  },
  /** Ends the transaction, does not mind, and goes on. */
  endAndGoOn(connection: Connection, key: string): number {
    try {
      connection.run('INSERT OR ROLLBACK INTO item SELECT * FROM item LIMIT 1')
    } catch {}
    return connection.run('INSERT INTO item VALUES (?, ?)', key, 'v')
  },
  /** Whether the commit it is in will be synced: 2, or 1 when it will not. */
  synchronous(connection: Connection): number {
    return connection.get<{ synchronous: number }>('PRAGMA synchronous')!.synchronous
  },
  /** A result that no other thread can have. */
  unclonable(): unknown {
    return () => 'mine'
  },
  putUnclonable(connection: Connection, key: string): unknown {
    connection.run('INSERT INTO item VALUES (?, ?)', key, 'v')
    return { mine: () => 'mine' }
  },
  refuseUnclonable(connection: Connection): never {
    return connection.refuse(() => 'mine')
  },
  exit(): never {
    return process.exit(1)
  },
  crashLater(): void {
    setImmediate(() => {
      throw new Error('a bug')
    })
  },
  refuse(connection: Connection, reason: unknown): never {
    return connection.refuse(reason)
  },
  crash(): never {
    throw new RangeError('a bug')
  },
}
