// Bundles the Worker and sends requests to it on workerd.
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'

const { outputFiles } = await build({
  entryPoints: [fileURLToPath(new URL('./worker.ts', import.meta.url))],
  bundle: true,
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  write: false,
})
const workerd = new Miniflare({ modules: true, script: outputFiles[0]!.text, compatibilityDate: '2026-01-01' })
const { origin } = await workerd.ready

const order = () =>
  fetch(`${origin}/orders`, { method: 'POST', headers: { 'idempotency-key': 'o-1', 'x-user-id': 'ann' } })
const [first, second] = [await order(), await order()]
console.log(first.status, await first.text())
console.log(second.status, await second.text(), `replayed: ${second.headers.get('idempotent-replayed')}`)
for (let i = 0; i < 3; i++) await (await fetch(`${origin}/origin`)).text()
const refused = await fetch(`${origin}/origin`)
console.log(refused.status, `Retry-After: ${refused.headers.has('retry-after')}`)

await workerd.dispose()
