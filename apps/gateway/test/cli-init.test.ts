import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test, vi } from 'vitest'
import { bareEnv, cli, freshFolder, gw } from './cli-process.ts'

vi.setConfig({ testTimeout: 180_000 })

const root = fileURLToPath(new URL('../../../', import.meta.url))

/** A fresh project with this package linked into it, as `npm install` would put it there. */
async function project(): Promise<string> {
  const cwd = freshFolder()
  expect(await gw(['init', 'shop'], { cwd })).toMatchObject({
    code: 0,
    err: '',
    out: expect.stringContaining('npm run dev'),
  })
  const folder = join(cwd, 'shop')
  const modules = join(folder, 'node_modules')
  for (const scope of ['@gw', '@types']) mkdirSync(join(modules, scope), { recursive: true })
  symlinkSync(join(root, 'apps/gateway'), join(modules, '@gw/gateway'))
  symlinkSync(realpathSync(join(root, 'node_modules/@types/node')), join(modules, '@types/node'))
  return folder
}

interface Started {
  readonly url: string
  readonly child: ChildProcess
  output(): string
}

/** Runs `gw start` or `gw dev` in a project, until the test ends. */
async function started(command: 'start' | 'dev', cwd: string): Promise<Started> {
  const child = spawn(process.execPath, [cli, command, '--port', '0', '--admin-port', '0'], {
    cwd,
    env: { ...bareEnv, GW_LOG_LEVEL: 'silent', GW_DRAIN_DELAY: '0s' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const closed = once(child, 'close')
  onTestFinished(async () => {
    child.kill('SIGTERM')
    await closed
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
  await expect.poll(() => output, { timeout: 60_000 }).toMatch(/Gateway +http:\S+/)
  return { url: urlIn(output), child, output: () => output }
}

function urlIn(output: string): string {
  return [...output.matchAll(/Gateway +(http:\S+)/g)].at(-1)![1]!
}

const order = (url: string, key: string, body = '{"item":"lamp","quantity":2}') =>
  fetch(`${url}/api/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
    body,
  })

test('G12: init makes a project that type-checks, starts and answers once for a key', async () => {
  const folder = await project()
  await promisify(execFile)(join(root, 'node_modules/.bin/tsc'), ['--noEmit'], { cwd: folder })
  const { url, child } = await started('start', folder)
  const [first, again] = [await order(url, 'order-1'), await order(url, 'order-1')]
  expect([first.status, first.headers.get('gw-durability')]).toEqual([201, 'fsync'])
  expect([await again.text(), again.headers.get('idempotent-replayed')]).toEqual([await first.text(), 'true'])
  expect((await order(url, 'order-2', '{}')).status).toBe(400)
  child.kill('SIGTERM')
  expect((await once(child, 'exit'))[0]).toBe(0)
  expect((await gw(['inspect', join(folder, 'data'), '--json'])).code).toBe(0)
})

test('G12: init leaves alone what is there', async () => {
  const cwd = freshFolder()
  writeFileSync(join(cwd, 'package.json'), '{}')
  expect(await gw(['init'], { cwd })).toMatchObject({ code: 1, err: expect.stringContaining('package.json already') })
  expect(readFileSync(join(cwd, 'package.json'), 'utf8')).toBe('{}')
})

test('G12: dev runs the project again after a change, and waits out one that does not start', async () => {
  const folder = await project()
  const file = join(folder, 'src/app.ts')
  const source = readFileSync(file, 'utf8')
  const { output } = await started('dev', folder)
  const answer = async () => (await order(urlIn(output()), crypto.randomUUID()).catch(() => undefined))?.text()
  expect(await answer()).not.toContain('changed')
  writeFileSync(file, 'export const register = 1\n')
  await expect.poll(output, { timeout: 60_000 }).toContain('waiting for a change')
  expect(output()).toContain('does not export a function `register(gateway)`')
  writeFileSync(file, source.replace('reserved, receipt }', "reserved, receipt, more: 'changed' }"))
  await expect.poll(answer, { timeout: 60_000 }).toContain('changed')
})
