import type { Connection, Database, Procedures } from '@gw/sqlite'
import { DedupError } from '../errors.ts'
import type { DedupStore, KeyLink, KeyRecord, NewClaim, StoredResponse } from '../store.ts'

/** What a SQLite store is made on. */
export interface SqliteDedupStoreOptions {
  /** An open database of `@gw/sqlite`; whoever opened it closes it. */
  readonly db: Database
  readonly now?: () => number
  /** A monotonic clock for leases. */
  readonly monotonic?: () => number
}

const migrations = [
  `CREATE TABLE gw_key (
    key TEXT PRIMARY KEY, token INTEGER NOT NULL, completed INTEGER NOT NULL, fingerprint TEXT NOT NULL, principal_hash TEXT NOT NULL, link TEXT,
    process TEXT NOT NULL, lease_until REAL NOT NULL, window_ms INTEGER NOT NULL, expires_at INTEGER, status INTEGER, headers TEXT, body BLOB
  ) WITHOUT ROWID;
  CREATE INDEX gw_key_expiry ON gw_key (expires_at) WHERE expires_at IS NOT NULL;
  CREATE TABLE gw_secret (secret BLOB NOT NULL);
  INSERT INTO gw_secret VALUES (randomblob(32));`,
]

interface Row {
  readonly key: string
  readonly token: number
  readonly completed: number
  readonly fingerprint: string
  readonly principal_hash: string
  readonly link: string | null
  readonly process: string
  readonly lease_until: number
  readonly window_ms: number
  readonly expires_at: number | null
  readonly status: number | null
  readonly headers: string | null
  readonly body: Uint8Array | null
}

/** The writes of this store; run by the writer thread. */
export const procedures: Procedures = {
  claim(
    connection: Connection,
    { claim, process, leaseUntil, now }: { claim: NewClaim; process: string; leaseUntil: number; now: number },
  ): void {
    const held = connection.get<Row>('SELECT token, completed, expires_at FROM gw_key WHERE key = ?', claim.key)
    if (held !== undefined) {
      const expired = held.completed === 1 && held.expires_at !== null && held.expires_at <= now
      if ((!expired && (held.completed === 1 || held.token !== claim.replaces)) || held.token >= claim.token)
        connection.refuse('held')
    }
    connection.run(
      'INSERT OR REPLACE INTO gw_key VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL)',
      claim.key,
      claim.token,
      claim.fingerprint,
      claim.principalHash,
      claim.link ?? null,
      process,
      leaseUntil,
      claim.windowMs,
    )
  },
  complete(
    connection: Connection,
    { link, response, now }: { link: KeyLink; response: StoredResponse; now: number },
  ): boolean {
    return (
      connection.run(
        'UPDATE gw_key SET completed = 1, status = ?, headers = ?, body = ?, expires_at = ? + window_ms WHERE key = ? AND token = ? AND completed = 0',
        response.status,
        JSON.stringify(response.headers),
        response.body,
        now,
        link.key,
        link.token,
      ) === 1
    )
  },
  extend(connection: Connection, { link, leaseUntil }: { link: KeyLink; leaseUntil: number }): boolean {
    return (
      connection.run(
        'UPDATE gw_key SET lease_until = ? WHERE key = ? AND token = ? AND completed = 0',
        leaseUntil,
        link.key,
        link.token,
      ) === 1
    )
  },
  release(connection: Connection, { link }: { link: KeyLink }): boolean {
    return (
      connection.run('DELETE FROM gw_key WHERE key = ? AND token = ? AND completed = 0', link.key, link.token) === 1
    )
  },
  sweep(connection: Connection, { now, limit }: { now: number; limit: number }): number {
    return connection.run(
      'DELETE FROM gw_key WHERE key IN (SELECT key FROM gw_key WHERE expires_at <= ? LIMIT ?)',
      now,
      limit,
    )
  },
  secret(connection: Connection, { secret }: { secret: Uint8Array }): void {
    const { n } = connection.get<{ n: number }>('SELECT count(*) AS n FROM gw_key')!
    if (n > 0) connection.refuse('in_use')
    connection.run('UPDATE gw_secret SET secret = ?', secret)
  },
}

/** One name for each opening of a database, which only one process has at a time: a lease under another name has ended. */
const openings = new WeakMap<Database, string>()

/** Keeps keys in the embedded database; one process at a time. Leases run on the monotonic clock and end with the process. */
export function sqliteDedupStore({
  db,
  now = () => Date.now(),
  monotonic = () => performance.now(),
}: SqliteDedupStoreOptions): DedupStore {
  const named = (name: string, args: unknown) => ({ procedure: `${import.meta.url}#${name}`, args })
  let process = ''
  return {
    durable: true,
    shared: false,
    database: db,
    async open() {
      process = openings.get(db) ?? crypto.randomUUID()
      openings.set(db, process)
      await db.migrate('dedup', migrations)
    },
    async secret(given) {
      const { secret } = db.reader.get<{ secret: Uint8Array }>('SELECT secret FROM gw_secret')!
      if (given === undefined || (given.length === secret.length && given.every((byte, i) => byte === secret[i])))
        return secret
      try {
        await db.write(named('secret', { secret: given }))
      } catch (cause) {
        throw new DedupError('secret_mismatch', 'The secret given is not the one that the stored keys were made with', {
          cause,
        })
      }
      return given
    },
    unit: () => db.unit(),
    claim: (claim) => named('claim', { claim, process, leaseUntil: monotonic() + claim.leaseMs, now: now() }),
    complete: (link, response) => named('complete', { link, response, now: now() }),
    extend: (link, leaseMs) => named('extend', { link, leaseUntil: monotonic() + leaseMs }),
    release: (link) => named('release', { link }),
    async get(key): Promise<KeyRecord | undefined> {
      const row = db.reader.get<Row>('SELECT * FROM gw_key WHERE key = ?', key)
      if (row === undefined) return undefined
      const completed = row.completed === 1
      return {
        key,
        token: row.token,
        state: completed ? 'completed' : 'in_flight',
        fingerprint: row.fingerprint,
        principalHash: row.principal_hash,
        link: row.link ?? undefined,
        response: completed ? { status: row.status!, headers: JSON.parse(row.headers!), body: row.body! } : undefined,
        leaseRemainingMs: completed || row.process !== process ? 0 : Math.max(0, row.lease_until - monotonic()),
        windowRemainingMs: completed ? Math.max(0, row.expires_at! - now()) : row.window_ms,
      }
    },
    sweep: (limit) => db.write<number>(named('sweep', { now: now(), limit })),
  }
}
