import type { Connection, Procedures } from '@gw/sqlite'

/** The writes of the reference server, run by the database's writer thread. */
export const procedures = {
  insertRow(connection: Connection, { sql, values }: { sql: string; values: readonly (string | number)[] }): number {
    return connection.run(sql, ...values)
  },
} satisfies Procedures

/** The name of the write that inserts one row, as units carry it. */
export const insertRow: string = `${import.meta.url}#insertRow`
