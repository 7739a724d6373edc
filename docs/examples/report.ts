// A report of many items: the request answers at once, its progress can be asked for, and the process may die in the middle.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const dataDir = mkdtempSync(join(tmpdir(), 'gw-report-'))

/** Starts the server of `report-server.ts` in a process of its own, and says where it is. */
async function start() {
  const server = spawn(process.execPath, [fileURLToPath(new URL('./report-server.ts', import.meta.url)), dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  for await (const line of server.stdout) return { server, url: String(line).trim() }
  throw new Error('The server has ended')
}

async function stateOf(url: string): Promise<{ status: string; progress: number | null }> {
  return (await (await fetch(url)).json()) as { status: string; progress: number | null }
}

let { server, url } = await start()
const accepted = await fetch(`${url}/reports`, {
  method: 'POST',
  headers: { prefer: 'respond-async', 'idempotency-key': 'report-2026-11' },
  body: JSON.stringify({ month: '2026-11', items: 30 }),
})
const place = accepted.headers.get('location')
console.log(`${accepted.status}, to be found at its location`)

while (((await stateOf(`${url}${place}`)).progress ?? 0) < 0.3) await delay(20)
server.kill('SIGKILL')
console.log('killed in the middle')
;({ server, url } = await start())

while ((await stateOf(`${url}${place}`)).status !== 'completed') await delay(50)
const report = (await (await fetch(`${url}${place}/response`)).json()) as {
  month: string
  total: number
  begun: number
}
console.log(`${report.month}: ${report.total} items, begun in ${report.begun} processes`)

server.kill('SIGTERM')
await new Promise((resolve) => server.once('exit', resolve))
rmSync(dataDir, { recursive: true })
