/** The thread that copies a database, so that the progress of it can be shown meanwhile. */
import { DatabaseSync } from 'node:sqlite'
import { workerData } from 'node:worker_threads'

const { source, file } = workerData as { readonly source: string; readonly file: string }
const db = new DatabaseSync(source.startsWith('file:') ? new URL(source) : source, { readOnly: true, timeout: 5_000 })
try {
  db.prepare('VACUUM INTO ?').run(file)
} finally {
  db.close()
}
