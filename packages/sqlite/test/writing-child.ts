import { openDatabase } from '../src/index.ts'

const [directory, round] = process.argv.slice(2) as [string, string]
const db = await openDatabase({ directory })
await db.migrate('test', ['CREATE TABLE item (key TEXT UNIQUE, value TEXT)'])
const procedure = `${new URL('./procedures.ts', import.meta.url).href}#put`

/** Writes units of two rows that belong together, and says each only after its commit. */
async function writer(name: number): Promise<never> {
  for (let i = 0; ; i++) {
    const key = `${round}-${name}-${i}`
    const unit = db.unit()
    unit.add({ procedure, args: { key, value: key } })
    unit.add({ procedure, args: { key: `${key}-twin`, value: key } })
    await unit.commit()
    process.stdout.write(`${key}\n`)
  }
}

await Promise.all(Array.from({ length: 8 }, (_, name) => writer(name)))
