import type { PostgresDatabase, Procedure } from '@gw/postgres'
import { type SQL, sql } from 'drizzle-orm'
import { bytesOf, hexOf } from '../crypto.ts'
import { DedupError } from '../errors.ts'
import { newSecret, secretFrom } from '../secret.ts'
import type { ClaimAnswer, DedupStore, KeyLink, KeyRecord, NewClaim, StoredResponse } from '../store.ts'

/** What a PostgreSQL store is made on. */
export interface PostgresDedupStoreOptions {
  /** A database of `@gw/postgres`; stores on the same one share units. Whoever made its client closes it. */
  readonly db: PostgresDatabase
}

const migrations = [
  `CREATE TABLE gw_key (
    key text PRIMARY KEY, token text NOT NULL, fence bigint NOT NULL, completed boolean NOT NULL, fingerprint text NOT NULL,
    principal_hash text NOT NULL, link text, replaces text, lease_until timestamptz NOT NULL, window_ms double precision NOT NULL,
    expires_at timestamptz, awaited boolean NOT NULL, status integer, headers text, body bytea
  );
  CREATE INDEX gw_key_expiry ON gw_key (expires_at) WHERE expires_at IS NOT NULL;
  CREATE INDEX gw_key_principal ON gw_key (principal_hash);
  CREATE SEQUENCE gw_key_fence;
  CREATE TABLE gw_secret (one boolean PRIMARY KEY CHECK (one), made boolean NOT NULL, bytes bytea NOT NULL);`,
]

const channel = 'gw_key'

/** A record as statements give it; absent where a claim found none in its own view of the table. */
interface Row extends Record<string, unknown> {
  readonly n: number
  /** The fence of a claim that was made. */
  readonly taken: string | null
  readonly token: string | null
  readonly fence: string
  readonly completed: boolean
  readonly fingerprint: string
  readonly principal_hash: string
  readonly link: string | null
  readonly window_ms: number
  readonly lease_left: number
  readonly expires_in: number | null
  readonly status: number | null
  readonly headers: string | null
  /** In hex: drivers differ in what they make of bytes. */
  readonly body: string | null
}

/** What is left is told by the clock of the moment: what is read may come from a transaction that began after this one. */
const columns: SQL = sql.raw(
  `k.token, k.fence::text AS fence, k.completed, k.fingerprint, k.principal_hash, k.link, k.window_ms, k.status, k.headers,
   encode(k.body, 'hex') AS body, greatest(0, extract(epoch FROM k.lease_until - clock_timestamp()) * 1000)::float8 AS lease_left,
   (extract(epoch FROM k.expires_at - clock_timestamp()) * 1000)::float8 AS expires_in`,
)
const ms: SQL = sql.raw(`interval '1 millisecond'`)
const over: SQL = sql.raw('k.expires_at <= now() AND (k.completed OR k.lease_until <= now())')

function recordset(batch: readonly object[], fields: string): SQL {
  const numbered = JSON.stringify(batch.map((args, n) => ({ n, ...args })))
  return sql`(SELECT * FROM jsonb_to_recordset(${numbered}::text::jsonb) AS i(${sql.raw(`n int, ${fields}`)}))`
}

const claimFields =
  '"key" text, token text, fingerprint text, "principalHash" text, link text, "leaseMs" float8, "windowMs" float8, replaces text'

/**
 * One conditional upsert for all claims of a batch. What it did not take is read in the same statement, from the statement's own
 * view: a record that was made or freed since then is not in it, or shows as one that could have been taken, and is asked for again.
 * A key that is held in that view is not upserted: that would lock its record, and nodes that answer "held" while they settle keys
 * of their own would wait for each other in a circle.
 */
function claimStatement(batch: readonly NewClaim[]): SQL {
  return sql`WITH input AS MATERIALIZED ${recordset(batch, claimFields)}, taken AS (
    INSERT INTO gw_key AS k
      (key, token, fence, completed, fingerprint, principal_hash, link, replaces, lease_until, window_ms, expires_at, awaited)
    SELECT i.key, i.token, nextval('gw_key_fence'), false, i.fingerprint, i."principalHash", i.link, i.replaces,
      now() + i."leaseMs" * ${ms}, i."windowMs",
      CASE WHEN i.link IS NULL THEN now() + (i."leaseMs" + i."windowMs") * ${ms} END, false
    FROM input i LEFT JOIN gw_key k ON k.key = i.key
    WHERE k.key IS NULL OR (${over}) OR (NOT k.completed AND k.token = i.replaces AND k.lease_until <= now())
    ORDER BY i.key
    ON CONFLICT (key) DO UPDATE SET token = excluded.token, fence = excluded.fence, completed = false,
      fingerprint = excluded.fingerprint, principal_hash = excluded.principal_hash, link = excluded.link,
      replaces = excluded.replaces, lease_until = excluded.lease_until, window_ms = excluded.window_ms,
      expires_at = excluded.expires_at, awaited = false, status = NULL, headers = NULL, body = NULL
    WHERE (${over}) OR (NOT k.completed AND k.token = excluded.replaces AND k.lease_until <= now())
    RETURNING k.key, k.fence
  )
  SELECT i.n, t.fence::text AS taken, ${columns}
  FROM input i LEFT JOIN taken t ON t.key = i.key LEFT JOIN gw_key k ON k.key = i.key AND t.key IS NULL`
}

/** What became of one claim, or `again` when its statement did not see the record that was in its way. */
function claimAnswer(claim: NewClaim, row: Row): ClaimAnswer | 'again' {
  if (row.taken !== null) return { kind: 'claimed', fence: Number(row.taken) }
  if (row.token === null) return 'again'
  if (!row.completed && row.token === claim.token) return { kind: 'claimed', fence: Number(row.fence) }
  const lapsed = row.lease_left === 0
  const takeable = isOver(row) || (!row.completed && lapsed && row.token === claim.replaces)
  return takeable ? 'again' : { kind: 'held', record: recordOf(claim.key, row) }
}

function isOver({ expires_in, completed, lease_left }: Row): boolean {
  return expires_in !== null && expires_in <= 0 && (completed || lease_left === 0)
}

function recordOf(key: string, row: Row): KeyRecord {
  const { token, completed, fingerprint, link, status, lease_left, window_ms, expires_in } = row
  const base = {
    key,
    token: token ?? '',
    fence: Number(row.fence),
    fingerprint,
    principalHash: row.principal_hash,
    link: link ?? undefined,
  }
  if (!completed)
    return {
      ...base,
      state: 'in_flight',
      response: undefined,
      leaseRemainingMs: lease_left,
      windowRemainingMs: window_ms,
    }
  const ended = { leaseRemainingMs: 0, windowRemainingMs: Math.max(0, expires_in ?? 0) }
  const headers = fieldsOf(row.headers)
  if (headers === undefined || status === null) return { ...base, ...ended, state: 'corrupt', response: undefined }
  const body = row.body === null ? undefined : bytesOf(row.body)
  return { ...base, ...ended, state: 'completed', response: { status, headers, body } }
}

function fieldsOf(text: string | null): StoredResponse['headers'] | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '')
    return Array.isArray(value) ? (value as [string, string][]) : undefined
  } catch {
    return undefined
  }
}

interface Completion {
  readonly key: string
  readonly token: string
  readonly status: number
  readonly headers: string
  readonly body: string | null
  readonly windowMs: number | null
}

/** Answers are in the order of the batch, whatever order the rows came in. */
function ordered<Answer>(
  batch: readonly object[],
  rows: Iterable<unknown>,
  answer: (row: Row, i: number) => Answer,
): Answer[] {
  const answers = new Array<Answer>(batch.length)
  for (const row of rows as Iterable<Row>) answers[row.n] = answer(row, row.n)
  return answers
}

function settling<Args extends KeyLink>(statement: (batch: readonly Args[]) => SQL): Procedure<Args> {
  return {
    oneStatement: true,
    locks: ({ key }) => [{ name: `key:${key}`, shared: false }],
    run: async (tx, batch) =>
      ordered(batch, await tx.execute(statement(batch)), (row) => ({ result: row['ok'] === true ? 'ok' : 'stale' })),
  }
}

/** An update of claims that still are their owners', with news for who waits. */
function changing(fields: string, set: SQL): (batch: readonly KeyLink[]) => SQL {
  return (batch) => sql`WITH input AS MATERIALIZED ${recordset(batch, `"key" text, token text${fields}`)}, changed AS (
    UPDATE gw_key k SET ${set} FROM input i WHERE k.key = i.key AND k.token = i.token AND NOT k.completed RETURNING i.n
  ) SELECT i.n, (c.n IS NOT NULL) AS ok FROM input i LEFT JOIN changed c ON c.n = i.n`
}

function completeStatement(batch: readonly Completion[]): SQL {
  const fields = '"key" text, token text, status int, headers text, body text, "windowMs" float8'
  return sql`WITH input AS MATERIALIZED ${recordset(batch, fields)}, done AS (
    UPDATE gw_key k SET completed = true, status = i.status, headers = i.headers, body = decode(i.body, 'hex'),
      expires_at = now() + coalesce(i."windowMs", k.window_ms) * ${ms}
    FROM input i WHERE k.key = i.key AND k.token = i.token AND NOT k.completed RETURNING i.n, k.key, k.awaited
  ), told AS (SELECT count(pg_notify(${channel}::text, key)) AS n FROM done WHERE awaited)
  SELECT i.n, (d.n IS NOT NULL OR (k.token = i.token AND k.completed)) AS ok, (SELECT n FROM told) AS told
  FROM input i LEFT JOIN done d ON d.n = i.n LEFT JOIN gw_key k ON k.key = i.key`
}

function releaseStatement(batch: readonly KeyLink[]): SQL {
  return sql`WITH input AS MATERIALIZED ${recordset(batch, '"key" text, token text')}, freed AS (
    DELETE FROM gw_key k USING input i WHERE k.key = i.key AND k.token = i.token AND NOT k.completed
    RETURNING i.n, k.key, k.awaited
  ), told AS (SELECT count(pg_notify(${channel}::text, key)) AS n FROM freed WHERE awaited)
  SELECT i.n, (f.n IS NOT NULL) AS ok, (SELECT n FROM told) AS told FROM input i LEFT JOIN freed f ON f.n = i.n`
}

/** How often a claim is asked for again when other claims of its key came between. */
const maxTries = 10

/**
 * Keeps keys in PostgreSQL, for any number of processes: the store for at most one execution. Periods run on the server's clock.
 * A unit made by `db.unitIn(tx)` carries a key's answer in your own transaction, so that it commits with your rows or not at all.
 */
export function postgresDedupStore({ db }: PostgresDedupStoreOptions): DedupStore {
  const claimLocks = ({ key }: NewClaim) => [{ name: `key:${key}`, shared: false }]
  db.define<NewClaim>('dedup.tryClaim', {
    oneStatement: true,
    locks: claimLocks,
    run: async (tx, batch) =>
      ordered(batch, await tx.execute(claimStatement(batch)), (row, i) => ({ result: claimAnswer(batch[i]!, row) })),
  })
  db.define<NewClaim>('dedup.claim', {
    oneStatement: true,
    locks: claimLocks,
    run: async (tx, batch) =>
      ordered(batch, await tx.execute(claimStatement(batch)), (row, i) => {
        const answer = claimAnswer(batch[i]!, row)
        return answer !== 'again' && answer.kind === 'claimed' ? { result: answer.fence } : { refused: 'held' }
      }),
  })
  db.define<Completion>('dedup.complete', settling(completeStatement))
  db.define<KeyLink>('dedup.release', settling(releaseStatement))
  db.define<KeyLink & { readonly leaseMs: number }>(
    'dedup.extend',
    settling(
      changing(
        ', "leaseMs" float8',
        sql`lease_until = now() + i."leaseMs" * ${ms},
          expires_at = CASE WHEN k.link IS NULL THEN now() + (i."leaseMs" + k.window_ms) * ${ms} END`,
      ),
    ),
  )
  db.define<KeyLink & { readonly run: string }>(
    'dedup.attach',
    settling(changing(', run text', sql`link = i.run, expires_at = NULL`)),
  )
  let opened: Promise<void> | undefined

  return {
    durable: true,
    shared: true,
    joinable: true,
    database: db,
    open() {
      opened ??= db.migrate('dedup', migrations).catch((error: unknown) => {
        opened = undefined
        throw error
      })
      return opened
    },
    async secret(given) {
      const { made, bytes } = await newSecret(given)
      await db.query(
        sql`INSERT INTO gw_secret VALUES (true, ${made}::boolean, decode(${hexOf(bytes)}::text, 'hex')) ON CONFLICT DO NOTHING`,
      )
      const [kept] = await db.query<{ made: boolean; bytes: string }>(
        sql`SELECT made, encode(bytes, 'hex') AS bytes FROM gw_secret`,
      )
      if (kept === undefined) throw new DedupError('unavailable', 'The secret could not be read')
      return secretFrom({ made: kept.made, bytes: bytesOf(kept.bytes) }, given)
    },
    async tryClaim(claim) {
      for (let tries = 1; tries <= maxTries; tries++) {
        const unit = db.unit()
        let answer: ClaimAnswer | 'again' = 'again'
        unit.add({ procedure: 'dedup.tryClaim', args: claim }, (result) => {
          answer = result as ClaimAnswer | 'again'
        })
        await unit.commit()
        if ((answer as ClaimAnswer | 'again') !== 'again') return answer as unknown as ClaimAnswer
      }
      throw new DedupError('unavailable', `Other claims of the key came between ${maxTries} times`)
    },
    async get(key, { awaited = false } = {}) {
      const [row] = await db.query<Row>(
        awaited
          ? sql`WITH marked AS (UPDATE gw_key SET awaited = true WHERE key = ${key} AND NOT completed AND NOT awaited)
              SELECT 0 AS n, NULL AS taken, ${columns} FROM gw_key k WHERE k.key = ${key}`
          : sql`SELECT 0 AS n, NULL AS taken, ${columns} FROM gw_key k WHERE k.key = ${key}`,
      )
      return row === undefined || isOver(row) ? undefined : recordOf(key, row)
    },
    unit: () => db.unit(),
    claim: (claim) => ({ procedure: 'dedup.claim', args: claim }),
    complete: ({ key, token }, { status, headers, body }, windowMs) => ({
      procedure: 'dedup.complete',
      args: {
        key,
        token,
        status,
        headers: JSON.stringify(headers),
        body: body === undefined ? null : hexOf(body),
        windowMs: windowMs ?? null,
      },
    }),
    extend: ({ key, token }, leaseMs) => ({ procedure: 'dedup.extend', args: { key, token, leaseMs } }),
    attach: ({ key, token }, run) => ({ procedure: 'dedup.attach', args: { key, token, run } }),
    release: ({ key, token }) => ({ procedure: 'dedup.release', args: { key, token } }),
    async erase(principalHash) {
      const [erased] = await db.query<{ count: string }>(
        sql`WITH erased AS (
          DELETE FROM gw_key k WHERE k.principal_hash = ${principalHash}
            AND (k.completed OR (k.link IS NULL AND k.lease_until <= now())) RETURNING 1
        ) SELECT count(*)::text AS count, pg_notify(${channel}::text, ${`erased ${principalHash}`}::text) FROM erased`,
      )
      return Number(erased?.count ?? 0)
    },
    async sweep(limit) {
      const [swept] = await db.query<{ count: string }>(
        sql`WITH gone AS (
          DELETE FROM gw_key WHERE key IN (
            SELECT k.key FROM gw_key k WHERE ${over} ORDER BY k.expires_at LIMIT ${limit}::int FOR UPDATE SKIP LOCKED
          ) RETURNING 1
        ) SELECT count(*)::text AS count FROM gone`,
      )
      return Number(swept?.count ?? 0)
    },
    watch: (listener) =>
      db.listen(channel, (payload) => {
        if (payload.startsWith('erased ')) listener.erased?.(payload.slice('erased '.length))
        else listener.settled?.(payload)
      }),
  }
}
