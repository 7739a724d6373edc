import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { refuseUnknown } from '../errors.ts'
import { type Keyring, keyName, keyringOn } from '../keyring.ts'

/** Where a keyring lies. */
export interface SqliteKeyringOptions {
  /** The file, made with mode 0600: outside the data directory and its backups, with a backup of its own. */
  readonly file: string
}

/** A keyring in a file of its own. */
export interface SqliteKeyring extends Keyring {
  close(): void
}

/** Opens a keyring. Every change is synced before it answers, and what is erased is overwritten in the file. */
export function sqliteKeyring({ file, ...unknown }: SqliteKeyringOptions): SqliteKeyring {
  refuseUnknown(unknown)
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  closeSync(openSync(file, 'a', 0o600))
  chmodSync(file, 0o600)
  const db = new DatabaseSync(file, { timeout: 5_000 })
  // Without a write-ahead log: an erased key must not live on in one.
  db.exec(`PRAGMA secure_delete = ON; PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = EXTRA;
    CREATE TABLE IF NOT EXISTS gw_key (name BLOB PRIMARY KEY, key BLOB) WITHOUT ROWID`)
  const select = db.prepare('SELECT key FROM gw_key WHERE name = ?')
  const insert = db.prepare('INSERT INTO gw_key VALUES (?, ?) ON CONFLICT DO NOTHING')
  const erase = db.prepare(
    'INSERT INTO gw_key VALUES (?, NULL) ON CONFLICT DO UPDATE SET key = NULL WHERE key IS NOT NULL',
  )
  const find = (subject: string) => {
    const key = select.get(keyName(subject))?.['key']
    return key instanceof Uint8Array ? new Uint8Array(key) : undefined
  }
  const ring = keyringOn({
    keyOf(subject, fresh) {
      const known = find(subject)
      if (known !== undefined) return known
      insert.run(keyName(subject), fresh())
      return find(subject)
    },
    find,
    erase(subject) {
      const had = find(subject) !== undefined
      erase.run(keyName(subject))
      return had
    },
  })
  return { ...ring, close: () => db.close() }
}
