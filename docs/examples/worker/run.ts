// Bundles the Worker, sends requests to it on workerd, and starts workerd anew in between.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'

const { outputFiles } = await build({
  entryPoints: [fileURLToPath(new URL('./worker.ts', import.meta.url))],
  bundle: true,
  format: 'esm',
  target: 'es2022',
  external: ['node:*'],
  write: false,
})
const kept = mkdtempSync(join(tmpdir(), 'gw-example-'))
const workerd = () =>
  new Miniflare({
    modules: [{ type: 'ESModule', path: 'worker.mjs', contents: outputFiles[0]!.text }],
    compatibilityDate: '2026-01-01',
    compatibilityFlags: ['nodejs_compat'],
    durableObjects: { CUSTOMERS: { className: 'Customer', useSQLite: true } },
    durableObjectsPersist: kept,
  })

async function order({ origin }: URL): Promise<string> {
  const headers = { 'idempotency-key': 'o-1', 'x-user-id': 'ann' }
  const answer = await fetch(`${origin}/orders`, { method: 'POST', headers })
  const replayed = answer.headers.has('idempotent-replayed') ? ' replayed' : ''
  return `${answer.status} ${await answer.text()}${replayed}`
}

const first = workerd()
console.log(await order(await first.ready))
console.log(await order(await first.ready))
await first.dispose()

const second = workerd()
const url = await second.ready
console.log(await order(url), 'after a restart')
for (let i = 0; i < 3; i++) await (await fetch(`${url.origin}/origin`)).text()
const refused = await fetch(`${url.origin}/origin`)
console.log(refused.status, `Retry-After: ${refused.headers.has('retry-after')}`)
await second.dispose()
rmSync(kept, { recursive: true, force: true })
