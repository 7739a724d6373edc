/** The backup thread: one copy, made on a connection of its own while the writer goes on. */
import { DatabaseSync } from 'node:sqlite'
import { workerData } from 'node:worker_threads'
import { makePrivate } from './data-directory.ts'
import type { BackupData } from './messages.ts'

const { file, into } = workerData as BackupData
makePrivate(into)
const db = new DatabaseSync(file, { readOnly: true, timeout: 5_000 })
db.prepare('VACUUM INTO ?').run(into)
db.close()
