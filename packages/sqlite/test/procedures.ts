import type { Connection } from '../src/unit.ts'

export const procedures = {
  put(connection: Connection, { key, value }: { key: string; value: string | Uint8Array }): number {
    return connection.run('INSERT INTO item VALUES (?, ?)', key, value)
  },
  refuse(connection: Connection, reason: unknown): never {
    return connection.refuse(reason)
  },
  crash(): never {
    throw new RangeError('a bug')
  },
}
