// What is run on each runtime that has files and processes: `prove.ts <module> <export>` prints one line of JSON.
import type { Proof } from './proof.ts'

const [module, name] = process.argv.slice(2)
const proofs: Record<string, () => Promise<object>> = {
  breaker: () => import('./proofs/breaker.ts'),
  checkpoint: () => import('./proofs/checkpoint.ts'),
  dedup: () => import('./proofs/dedup.ts'),
  events: () => import('./proofs/events.ts'),
  pool: () => import('./proofs/pool.ts'),
  sqlite: () => import('./proofs/sqlite.ts'),
}
const loaded = (await proofs[module ?? '']?.()) as Record<string, Proof> | undefined
const proof = loaded?.[name ?? '']
if (proof === undefined) throw new Error(`There is no proof ${module}.${name}`)
console.log(`outcome ${JSON.stringify(await proof.run())}`)
process.exit(0)
