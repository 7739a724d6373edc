import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Asks the admin API of the gateway that the environment names; ends the process with 1 and a sentence where it does not answer. */
export async function askAdmin<Answer>(path: string, init: RequestInit = {}): Promise<Answer> {
  const { env } = process
  const url = `http://${env['GW_ADMIN_HOST'] ?? '127.0.0.1'}:${env['GW_ADMIN_PORT'] ?? '8001'}`
  const response = await fetch(`${url}${path}`, { ...init, headers: { authorization: `Bearer ${tokenOf()}` } }).catch(
    () => giveUp(`No gateway answers at ${url}. Start one with: gw start`),
  )
  const text = await response.text()
  if (!response.ok) giveUp(`${response.status} ${text}`)
  return JSON.parse(text) as Answer
}

function tokenOf(): string {
  const { env } = process
  if (env['GW_ADMIN_TOKEN'] !== undefined) return env['GW_ADMIN_TOKEN']
  const file = join(env['GW_DATA_DIR'] ?? './data', 'admin-token')
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return giveUp(`Expected GW_ADMIN_TOKEN, or the token in ${file}; set GW_DATA_DIR to the gateway's data directory`)
  }
}

function giveUp(message: string): never {
  console.error(message)
  process.exit(1)
}
