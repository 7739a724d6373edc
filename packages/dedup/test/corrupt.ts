import type { Connection } from '@gw/sqlite'

/** Damages what a store has kept. */
export const procedures = {
  headers(connection: Connection): number {
    return connection.run("UPDATE gw_key SET headers = '[[' || headers")
  },
}
