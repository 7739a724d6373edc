import type { Connection } from '@gw/sqlite'

/** Run by the writer thread of the database. */
export const procedures = {
  put(connection: Connection, { key, value }: { readonly key: string; readonly value: string }): void {
    connection.run('INSERT OR REPLACE INTO item VALUES (?, ?)', key, value)
  },
}
