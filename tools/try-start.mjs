import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { root } from './pnpm.mjs'

/** What a newcomer does first: `npm start`, one payment at the address that it prints, Ctrl-C. Throws where one of them goes wrong. */
export async function tryStart() {
  const folder = mkdtempSync(join(tmpdir(), 'gw-start-'))
  const command = ['start', '--silent', '--', '--port', '0', '--admin-port', '0', '--data-dir', folder]
  const npm = spawn('npm', command, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'], detached: true })
  const ended = once(npm, 'close')
  try {
    const url = await addressIn(npm.stdout)
    const paid = await fetch(`${url}/api/payment`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': 'order-1' },
      body: '{"amount":25,"currency":"EUR","payment_method":"card","customer_id":"ann"}',
    })
    if (paid.status !== 201) throw new Error(`npm start: expected 201 for a payment, got ${paid.status}`)
    process.kill(-npm.pid, 'SIGINT')
    const [code, signal] = await ended
    // npm ends as what it runs did, or by the signal itself.
    if (code !== 0 && signal !== 'SIGINT')
      throw new Error(`npm start: expected Ctrl-C to end it, it ended with ${code ?? signal}`)
  } finally {
    if (npm.exitCode === null && npm.signalCode === null) process.kill(-npm.pid, 'SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
}

async function addressIn(output) {
  for await (const line of createInterface({ input: output })) {
    const [, url] = /^Gateway +(http:\S+)/.exec(line) ?? []
    if (url === undefined) continue
    output.resume()
    return url
  }
  throw new Error('npm start: it ended before it said its address')
}
