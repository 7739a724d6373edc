import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePorts } from '@gw/services'
import { afterAll, expect, test } from 'vitest'
import { blocksOf, documentText } from './blocks.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const blocks = blocksOf('README.md')
const stops = blocks.flatMap((block, i) => {
  if (block.language !== 'sh' || block.flag !== 'tour') return []
  const next = blocks[i + 1]
  return [{ ...block, output: next?.language === 'text' && next.flag === 'output' ? next.text : undefined }]
})

/** A shell that the tour is typed into, on ports and in a directory of its own. */
const home = mkdtempSync(join(tmpdir(), 'gw-tour-'))
const [port, adminPort] = await freePorts(2)
const shell = spawn('bash', { cwd: root, stdio: 'pipe', detached: true, env: environment() })

afterAll(() => {
  process.kill(-shell.pid!, 'SIGKILL')
  rmSync(home, { recursive: true, force: true })
})

function environment(): NodeJS.ProcessEnv {
  const { NO_COLOR: _, FORCE_COLOR: __, ...env } = process.env
  const settings = { PORT: String(port), GW_ADMIN_PORT: String(adminPort), GW_DATA_DIR: join(home, 'data') }
  return {
    ...env,
    ...settings,
    NO_COLOR: '1',
    GW_LOG_LEVEL: 'silent',
    PATH: `${dirname(process.execPath)}:${env['PATH']}`,
  }
}

/** Types a block into the shell and gives what it printed. */
function type(text: string): Promise<string> {
  const end = `end of block ${Math.random()}`
  return new Promise((resolve, reject) => {
    let printed = ''
    const hear = (chunk: Buffer) => {
      printed += chunk.toString()
      if (!printed.includes(`${end}\n`)) return
      shell.stdout.off('data', hear)
      resolve(printed.replace(`${end}\n`, ''))
    }
    shell.stdout.on('data', hear)
    shell.once('exit', (code) => reject(new Error(`The shell ended with ${code} after:\n${printed}`)))
    shell.stdin.write(`${here(text)}\necho '${end}'\n`)
  })
}

/** The tour's own ports and directory; `npm start` is what it does when all is installed and built, behind the shell. */
function here(text: string): string {
  const up = `until curl -sf http://127.0.0.1:${port}/health/ready > /dev/null; do sleep 0.1; done`
  return text
    .replaceAll('127.0.0.1:8000', `127.0.0.1:${port}`)
    .replaceAll('127.0.0.1:8001', `127.0.0.1:${adminPort}`)
    .replaceAll(' data/', ` ${join(home, 'data')}/`)
    .replace(/^npm start$/m, `node apps/gateway/dist/cli.js start > /dev/null 2>&1 &\n${up}`)
}

/** What differs from run to run, and what does not. */
function masked(text: string): string {
  return text
    .replaceAll('\r', '')
    .replaceAll(`127.0.0.1:${port}`, '127.0.0.1:8000')
    .replaceAll(`127.0.0.1:${adminPort}`, '127.0.0.1:8001')
    .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g, '<id>')
    .replaceAll(/^(date|Date): .+$/gm, 'date: <date>')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<time>')
    .replaceAll(/[0-9a-f]{64}/g, '<hash>')
    .replaceAll(/\b1[789]\d{11}\b/g, '<milliseconds>')
    .trim()
}

test('the tour of README.md, typed into a shell, prints what it shows', { timeout: 180_000 }, async () => {
  expect(stops.length).toBeGreaterThan(4)
  const printed: string[] = []
  for (const { text, output, line } of stops) {
    const now = await type(text)
    if (output === undefined) continue
    printed.push(now)
    if (process.env['GW_TOUR_WRITE'] === undefined) expect(masked(now), `README.md:${line}`).toBe(masked(output))
  }
  if (process.env['GW_TOUR_WRITE'] !== undefined) write(printed)
})

/** `GW_TOUR_WRITE=1` puts what was printed into the document, for whoever has changed the tour. */
function write(printed: readonly string[]): void {
  const next = printed[Symbol.iterator]()
  const outputs = documentText('README.md').replaceAll(/^```text output\n[\s\S]*?^```$/gm, () => {
    const text = String(next.next().value)
      .replaceAll('\r', '')
      .replaceAll(`127.0.0.1:${port}`, '127.0.0.1:8000')
      .trimEnd()
    return `\`\`\`text output\n${text}\n\`\`\``
  })
  writeFileSync(join(root, 'README.md'), outputs)
}
