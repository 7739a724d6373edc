// What is run on each runtime that has files and processes: `prove.ts <module> <export>` prints one line of JSON.
import type { Proof } from './proof.ts'
import type { Servers } from './servers.ts'

const [module, name] = process.argv.slice(2)
const address = (name: keyof Servers) => process.env[name] ?? ''
const proofs: Record<string, () => Promise<object>> = {
  breaker: () => import('./proofs/breaker.ts'),
  checkpoint: () => import('./proofs/checkpoint.ts'),
  dedup: () => import('./proofs/dedup.ts'),
  events: () => import('./proofs/events.ts'),
  pool: () => import('./proofs/pool.ts'),
  postgres: async () => (await import('./proofs/postgres.ts')).postgresProofs(address('POSTGRES_URL')),
  redis: async () =>
    (await import('./proofs/redis.ts')).redisProofs(address('REDIS_URL'), address('REDIS_CLUSTER_URL').split(',')),
  s3: async () => (await import('./proofs/s3.ts')).s3Proofs(address('BUCKET_URL')),
  sqlite: () => import('./proofs/sqlite.ts'),
}
const loaded = (await proofs[module ?? '']?.()) as Record<string, Proof> | undefined
const proof = loaded?.[name ?? '']
if (proof === undefined) throw new Error(`There is no proof ${module}.${name}`)
console.log(`outcome ${JSON.stringify(await proof.run())}`)
process.exit(0)
