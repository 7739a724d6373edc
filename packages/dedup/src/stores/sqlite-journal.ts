import type { CompletionJournal, JournalEntry } from '../journal.ts'
import type { KeyLink } from '../store.ts'

/** What the journal needs of a database of `@gw/sqlite`. */
export interface JournalDatabase {
  readonly reader: { all<Row>(sql: string): Row[] }
  migrate(owner: string, migrations: readonly string[], procedures?: JournalProcedures): Promise<void>
  write<Result>(write: { readonly procedure: string; readonly args: unknown }): Promise<Result>
}

interface Connection {
  run(sql: string, ...params: readonly (null | number | string | Uint8Array)[]): number
}

type JournalProcedures = {
  add(connection: Connection, entry: JournalEntry): void
  remove(connection: Connection, link: KeyLink): void
}

const migrations = [
  `CREATE TABLE gw_key_journal (
    token TEXT PRIMARY KEY, key TEXT NOT NULL, status INTEGER, headers TEXT, body BLOB, window_ms INTEGER NOT NULL, until INTEGER NOT NULL
  ) WITHOUT ROWID;`,
]

interface Row {
  readonly token: string
  readonly key: string
  readonly status: number | null
  readonly headers: string | null
  readonly body: Uint8Array | null
  readonly window_ms: number
  readonly until: number
}

/** The writes of this journal; run by the writer thread. */
export const procedures: JournalProcedures = {
  add(connection: Connection, { link, response, windowMs, until }: JournalEntry): void {
    connection.run(
      'INSERT OR REPLACE INTO gw_key_journal VALUES (?, ?, ?, ?, ?, ?, ?)',
      link.token,
      link.key,
      response?.status ?? null,
      response === undefined ? null : JSON.stringify(response.headers),
      response?.body ?? null,
      windowMs,
      until,
    )
  },
  remove(connection: Connection, { token }: KeyLink): void {
    connection.run('DELETE FROM gw_key_journal WHERE token = ?', token)
  },
}

/**
 * Keeps what a shared store could not take in the embedded database of this machine, so that it is offered again after a restart of
 * the process as well.
 */
export function sqliteCompletionJournal({ db }: { readonly db: JournalDatabase }): CompletionJournal {
  const named = (name: string, args: unknown) => ({ procedure: `${import.meta.url}#dedup-journal.${name}`, args })
  let opened: Promise<void> | undefined
  const open = () => {
    opened ??= db.migrate('dedup-journal', migrations, procedures)
    return opened
  }
  return {
    async add(entry) {
      await open()
      await db.write(named('add', entry))
    },
    async remove({ key, token }) {
      await open()
      await db.write(named('remove', { key, token }))
    },
    async entries() {
      await open()
      return db.reader.all<Row>('SELECT * FROM gw_key_journal').map(entryOf)
    },
  }
}

function entryOf({ key, token, status, headers, body, window_ms, until }: Row): JournalEntry {
  const base = { link: { key, token }, windowMs: window_ms, until }
  if (status === null) return base
  return { ...base, response: { status, headers: JSON.parse(headers ?? '[]'), body: body ?? undefined } }
}
