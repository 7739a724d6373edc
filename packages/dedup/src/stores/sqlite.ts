import type { Connection, Procedures, StoreDatabase } from '@gw/sqlite'
import { type KeptSecret, newSecret, secretFrom } from '../secret.ts'
import type { ClaimAnswer, DedupStore, KeyLink, KeyListener, KeyRecord, NewClaim, StoredResponse } from '../store.ts'

export { type JournalDatabase, sqliteCompletionJournal } from './sqlite-journal.ts'

/** What a SQLite store is made on. */
export interface SqliteDedupStoreOptions {
  /** An open database of `@gw/sqlite`, or a Durable Object's; whoever opened it closes it. */
  readonly db: StoreDatabase
  readonly now?: () => number
  /** A monotonic clock for leases. */
  readonly monotonic?: () => number
}

const migrations = [
  `CREATE TABLE gw_key (
    key TEXT NOT NULL PRIMARY KEY, token TEXT NOT NULL, fence INTEGER NOT NULL, completed INTEGER NOT NULL, fingerprint TEXT NOT NULL,
    principal_hash TEXT NOT NULL, link TEXT, opening INTEGER NOT NULL, lease_until REAL NOT NULL, window_ms INTEGER NOT NULL,
    expires_at INTEGER, status INTEGER, headers TEXT, body BLOB
  );
  CREATE INDEX gw_key_expiry ON gw_key (expires_at) WHERE expires_at IS NOT NULL;
  CREATE INDEX gw_key_principal ON gw_key (principal_hash);
  CREATE TABLE gw_secret (made INTEGER NOT NULL, bytes BLOB NOT NULL);
  CREATE TABLE gw_key_opening (opening INTEGER NOT NULL);
  INSERT INTO gw_key_opening VALUES (0);`,
]

interface Row {
  readonly key: string
  readonly token: string
  readonly fence: number
  readonly completed: number
  readonly fingerprint: string
  readonly principal_hash: string
  readonly link: string | null
  readonly opening: number
  readonly lease_until: number
  readonly window_ms: number
  readonly expires_at: number | null
  readonly status: number | null
  readonly headers: string | null
  readonly body: Uint8Array | null
}

/** The clocks of the process that has the database, as a write carries them to the writer thread. */
interface Clocks {
  /** This opening of the database: a lease under another one has ended. */
  readonly opening: number
  readonly now: number
  readonly monotonic: number
}

function leaseRemaining(row: Row, { opening, monotonic }: Clocks): number {
  return row.completed === 1 || row.opening !== opening ? 0 : Math.max(0, row.lease_until - monotonic)
}

/** Claims get an `expires_at` too: their lease's end on the wall clock, and their window after it. */
function isOver(row: Row, clocks: Clocks): boolean {
  return row.expires_at !== null && row.expires_at <= clocks.now && leaseRemaining(row, clocks) === 0
}

function take(connection: Connection, claim: NewClaim, clocks: Clocks, fence: number): ClaimAnswer {
  if (insert(connection, 'INSERT OR IGNORE', claim, clocks, fence) === 1) return { kind: 'claimed', fence }
  const held = connection.get<Row>('SELECT * FROM gw_key WHERE key = ?', claim.key)
  if (held !== undefined && !isOver(held, clocks)) {
    if (held.completed === 0 && held.token === claim.token) return { kind: 'claimed', fence: held.fence }
    const lapsed = held.completed === 0 && held.token === claim.replaces && leaseRemaining(held, clocks) === 0
    if (!lapsed) return { kind: 'held', record: recordOf(held, clocks) }
  }
  insert(connection, 'INSERT OR REPLACE', claim, clocks, fence)
  return { kind: 'claimed', fence }
}

function insert(
  connection: Connection,
  verb: 'INSERT OR IGNORE' | 'INSERT OR REPLACE',
  claim: NewClaim,
  clocks: Clocks,
  fence: number,
): number {
  return connection.run(
    `${verb} INTO gw_key VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)`,
    claim.key,
    claim.token,
    fence,
    claim.fingerprint,
    claim.principalHash,
    claim.link ?? null,
    clocks.opening,
    clocks.monotonic + claim.leaseMs,
    claim.windowMs,
    claim.link === undefined ? clocks.now + claim.leaseMs + claim.windowMs : null,
  )
}

function recordOf(row: Row, clocks: Clocks): KeyRecord {
  const { key, token, fence, fingerprint } = row
  const base = { key, token, fence, fingerprint, principalHash: row.principal_hash, link: row.link ?? undefined }
  if (row.completed === 0) {
    const leaseRemainingMs = leaseRemaining(row, clocks)
    return { ...base, state: 'in_flight', response: undefined, leaseRemainingMs, windowRemainingMs: row.window_ms }
  }
  const windowRemainingMs = Math.max(0, (row.expires_at ?? 0) - clocks.now)
  const headers = headersOf(row.headers)
  if (headers === undefined || row.status === null)
    return { ...base, state: 'corrupt', response: undefined, leaseRemainingMs: 0, windowRemainingMs }
  const response = { status: row.status, headers, body: row.body ?? undefined }
  return { ...base, state: 'completed', response, leaseRemainingMs: 0, windowRemainingMs }
}

function headersOf(text: string | null): StoredResponse['headers'] | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '')
    return Array.isArray(value) ? (value as [string, string][]) : undefined
  } catch {
    return undefined
  }
}

/** The arguments of the writes that every request makes; names once a write would cost more than the values. */
type ClaimArgs = readonly [
  key: string,
  token: string,
  fingerprint: string,
  principalHash: string,
  leaseMs: number,
  windowMs: number,
  link: string | undefined,
  replaces: string | undefined,
  opening: number,
  now: number,
  monotonic: number,
  fence: number,
]
type CompleteArgs = readonly [
  key: string,
  token: string,
  status: number,
  headers: string,
  body: Uint8Array | null,
  windowMs: number | null,
  now: number,
]

function claimOf([key, token, fingerprint, principalHash, leaseMs, windowMs, link, replaces]: ClaimArgs): NewClaim {
  return { key, token, fingerprint, principalHash, leaseMs, windowMs, link, replaces }
}

/** The writes of this store; run by the writer thread. */
export const procedures: Procedures = {
  claim(connection: Connection, args: ClaimArgs): number {
    const answer = take(connection, claimOf(args), { opening: args[8], now: args[9], monotonic: args[10] }, args[11])
    return answer.kind === 'claimed' ? answer.fence : connection.refuse('held')
  },
  tryClaim: (connection: Connection, args: { claim: NewClaim; clocks: Clocks; fence: number }): ClaimAnswer =>
    take(connection, args.claim, args.clocks, args.fence),
  complete(connection: Connection, args: CompleteArgs): 'ok' | 'stale' {
    const [key, token, status, headers, body, windowMs, now] = args
    const changed = connection.run(
      'UPDATE gw_key SET completed = 1, status = ?, headers = ?, body = ?, expires_at = ? + coalesce(?, window_ms) WHERE key = ? AND token = ? AND completed = 0',
      status,
      headers,
      body,
      now,
      windowMs,
      key,
      token,
    )
    if (changed === 1) return 'ok'
    const row = connection.get<Row>('SELECT token FROM gw_key WHERE key = ?', key)
    return row?.token === token ? 'ok' : 'stale'
  },
  extend(
    connection: Connection,
    { link, leaseMs, clocks }: { link: KeyLink; leaseMs: number; clocks: Clocks },
  ): 'ok' | 'stale' {
    return settled(
      connection.run(
        `UPDATE gw_key SET lease_until = ?, opening = ?, expires_at = CASE WHEN link IS NULL THEN ? + window_ms END
         WHERE key = ? AND token = ? AND completed = 0`,
        clocks.monotonic + leaseMs,
        clocks.opening,
        clocks.now + leaseMs,
        link.key,
        link.token,
      ),
    )
  },
  attach(connection: Connection, { link, run }: { link: KeyLink; run: string }): 'ok' | 'stale' {
    return settled(
      connection.run(
        'UPDATE gw_key SET link = ?, expires_at = NULL WHERE key = ? AND token = ? AND completed = 0',
        run,
        link.key,
        link.token,
      ),
    )
  },
  release(connection: Connection, { link }: { link: KeyLink }): 'ok' | 'stale' {
    return settled(
      connection.run('DELETE FROM gw_key WHERE key = ? AND token = ? AND completed = 0', link.key, link.token),
    )
  },
  erase(connection: Connection, { principalHash, clocks }: { principalHash: string; clocks: Clocks }): number {
    return connection.run(
      'DELETE FROM gw_key WHERE principal_hash = ? AND (completed = 1 OR (link IS NULL AND (opening <> ? OR lease_until <= ?)))',
      principalHash,
      clocks.opening,
      clocks.monotonic,
    )
  },
  sweep(connection: Connection, { clocks, limit }: { clocks: Clocks; limit: number }): number {
    return connection.run(
      `DELETE FROM gw_key WHERE key IN (SELECT key FROM gw_key WHERE expires_at <= ?
         AND (completed = 1 OR opening <> ? OR lease_until <= ?) LIMIT ?)`,
      clocks.now,
      clocks.opening,
      clocks.monotonic,
      limit,
    )
  },
  secret(connection: Connection, { made, bytes }: KeptSecret): KeptSecret {
    connection.run('INSERT INTO gw_secret SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM gw_secret)', made ? 1 : 0, bytes)
    const kept = connection.get<{ made: number; bytes: Uint8Array }>('SELECT made, bytes FROM gw_secret')!
    return { made: kept.made === 1, bytes: kept.bytes }
  },
  open(connection: Connection): number {
    connection.run('UPDATE gw_key_opening SET opening = opening + 1')
    return connection.get<{ opening: number }>('SELECT opening FROM gw_key_opening')!.opening
  },
}

function settled(changed: number): 'ok' | 'stale' {
  return changed === 1 ? 'ok' : 'stale'
}

interface Opening {
  readonly number: Promise<number>
  claims: number
  readonly listeners: Set<KeyListener>
}

/** One number for each opening of a database, which only one process has at a time. */
const openings = new WeakMap<StoreDatabase, Opening>()

const claim = `${import.meta.url}#dedup.claim`
const complete = `${import.meta.url}#dedup.complete`

/**
 * Keeps keys in the embedded database; one process at a time. Leases run on the monotonic clock and end with the process; a
 * record that is there is read without a commit.
 */
export function sqliteDedupStore({
  db,
  now = () => Date.now(),
  monotonic = () => performance.now(),
}: SqliteDedupStoreOptions): DedupStore {
  const named = (name: string, args: unknown) => ({ procedure: `${import.meta.url}#dedup.${name}`, args })
  let shared: Opening
  let opening = 0
  const clocks = (): Clocks => ({ opening, now: now(), monotonic: monotonic() })
  /** Grows within an opening, and from one to the next. */
  const nextFence = () => opening * 4_294_967_296 + ++shared.claims
  const read = (key: string, at: Clocks): KeyRecord | undefined => {
    const row = db.reader.get<Row>('SELECT * FROM gw_key WHERE key = ?', key)
    return row === undefined || isOver(row, at) ? undefined : recordOf(row, at)
  }
  return {
    durable: true,
    shared: false,
    joinable: true,
    database: db,
    async open() {
      await db.migrate('dedup', migrations, procedures)
      let known = openings.get(db)
      if (known === undefined) {
        known = { number: db.write<number>(named('open', {})), claims: 0, listeners: new Set() }
        openings.set(db, known)
      }
      shared = known
      opening = await known.number
    },
    async secret(given) {
      return secretFrom(await db.write<KeptSecret>(named('secret', await newSecret(given))), given)
    },
    async tryClaim(claim) {
      const at = clocks()
      const held = read(claim.key, at)
      if (held !== undefined && held.token !== claim.token && claim.replaces === undefined)
        return { kind: 'held', record: held }
      return db.write<ClaimAnswer>(named('tryClaim', { claim, clocks: at, fence: nextFence() }))
    },
    get: async (key) => read(key, clocks()),
    unit: () => db.unit(),
    claim({ key, token, fingerprint, principalHash, leaseMs, windowMs, link, replaces }) {
      const at = [opening, now(), monotonic(), nextFence()] as const
      const args: ClaimArgs = [key, token, fingerprint, principalHash, leaseMs, windowMs, link, replaces, ...at]
      return { procedure: claim, args }
    },
    complete({ key, token }, { status, headers, body }, windowMs) {
      const kept = [status, JSON.stringify(headers), body ?? null] as const
      const args: CompleteArgs = [key, token, ...kept, windowMs ?? null, now()]
      return { procedure: complete, args }
    },
    extend: (link, leaseMs) => named('extend', { link, leaseMs, clocks: clocks() }),
    attach: (link, run) => named('attach', { link, run }),
    release: (link) => named('release', { link }),
    async erase(principalHash) {
      const erased = await db.write<number>(named('erase', { principalHash, clocks: clocks() }))
      for (const listener of shared.listeners) listener.erased?.(principalHash)
      return erased
    },
    sweep: (limit) => db.write<number>(named('sweep', { clocks: clocks(), limit })),
    async watch(listener) {
      shared.listeners.add(listener)
      return async () => {
        shared.listeners.delete(listener)
      }
    },
  }
}
