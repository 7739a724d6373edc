import { once } from 'node:events'
import { closeSync, openSync, statSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import type { Progress } from '../progress.ts'

const worker = new URL(import.meta.url.endsWith('.ts') ? './vacuum-worker.ts' : './vacuum-worker.js', import.meta.url)

/** Writes one consistent state of a database to `file` while others read and write it. */
export async function snapshotInto(source: string, file: string, bytes: number, progress: Progress): Promise<void> {
  // SQLite would make it readable for all.
  closeSync(openSync(file, 'wx', 0o600))
  const thread = new Worker(worker, { workerData: { source, file } })
  const timer = setInterval(() => progress.at(statSync(file, { throwIfNoEntry: false })?.size ?? 0, bytes), 100)
  try {
    await once(thread, 'exit')
  } finally {
    clearInterval(timer)
  }
}
