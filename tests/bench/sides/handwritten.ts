/** The same five commits by hand on node:sqlite: accept, three steps, outcome, grouped in the main thread, `synchronous=FULL`. */

import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'

const [port, directory] = process.argv.slice(2) as [string, string]
const db = new DatabaseSync(join(directory, 'handwritten.db'))
db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
  CREATE TABLE run (id TEXT PRIMARY KEY, key TEXT UNIQUE, status TEXT, input TEXT, answer TEXT) WITHOUT ROWID;
  CREATE TABLE step (run TEXT, name TEXT, value TEXT, PRIMARY KEY (run, name)) WITHOUT ROWID;
  CREATE TABLE event (position INTEGER PRIMARY KEY, type TEXT, run TEXT)`)
const begin = db.prepare('BEGIN IMMEDIATE')
const commit = db.prepare('COMMIT')
const insertRun = db.prepare("INSERT INTO run VALUES (?, ?, 'running', ?, NULL)")
const endRun = db.prepare("UPDATE run SET status = 'completed', answer = ? WHERE id = ?")
const insertStep = db.prepare('INSERT INTO step VALUES (?, ?, ?)')
const insertEvent = db.prepare('INSERT INTO event (type, run) VALUES (?, ?)')
const findKey = db.prepare('SELECT answer FROM run WHERE key = ?')

let waiting: { write(): void; done(): void }[] = []
function grouped(write: () => void): Promise<void> {
  return new Promise((done) => {
    if (waiting.push({ write, done }) === 1) setImmediate(flush)
  })
}
function flush(): void {
  const batch = waiting
  waiting = []
  begin.run()
  for (const { write } of batch) write()
  commit.run()
  for (const { done } of batch) done()
}

const app = new Hono()
app.post('/pay', async (c) => {
  const key = c.req.header('idempotency-key')!
  const known = findKey.get(key)
  if (known !== undefined) return c.json(JSON.parse(String(known['answer'])), 201)
  const id = crypto.randomUUID()
  const text = await c.req.text()
  await grouped(() => {
    insertRun.run(id, key, text)
    insertEvent.run('accepted', id)
  })
  const { amount } = JSON.parse(text) as { amount: number }
  const step = async <Value>(name: string, value: Value) => {
    await grouped(() => insertStep.run(id, name, JSON.stringify(value)))
    return value
  }
  const fee = await step('fee', amount * 0.01)
  const charged = await step('charge', { amount, fee })
  const status = await step('notify', 'succeeded')
  const answer = { id, charged, status }
  await grouped(() => {
    endRun.run(JSON.stringify(answer), id)
    insertEvent.run('completed', id)
  })
  return c.json(answer, 201)
})
serve({ fetch: app.fetch, port: Number(port), hostname: '127.0.0.1' })
