import type { Connection, Procedures } from '@gw/sqlite'

/** The writes of the reference server, run by the database's writer thread. */
export const procedures = {
  recordOperation(
    connection: Connection,
    { id, type, principal, performedAt }: { id: string; type: string; principal: string; performedAt: string },
  ): number {
    connection.run('INSERT INTO operations VALUES (?, ?, ?, ?)', id, type, principal, performedAt)
    return connection.get<{ n: number }>('SELECT count(*) AS n FROM operations WHERE type = ?', type)!.n
  },
} satisfies Procedures

/** The name of one of these procedures, as a write carries it. */
export function procedure(name: keyof typeof procedures): string {
  return `${import.meta.url}#${name}`
}
