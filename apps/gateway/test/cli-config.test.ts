import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { freshFolder, gw } from './cli-process.ts'

vi.setConfig({ testTimeout: 60_000 })

/** A folder with a configuration. */
function folderWith(config: object): string {
  const cwd = freshFolder()
  writeFileSync(join(cwd, 'gateway.config.json'), JSON.stringify(config))
  return cwd
}

test('G13: config check names the file and says that it is valid, or ends with 78 and every error', async () => {
  const good = folderWith({ port: 9_000 })
  expect(await gw(['config', 'check'], { cwd: good })).toEqual({
    code: 0,
    out: `${join(good, 'gateway.config.json')}: valid\n`,
    err: '',
  })
  const bad = folderWith({ port: 'high', maxBody: '1 flock' })
  const { code, out, err } = await gw(['config', 'check'], { cwd: bad })
  expect([code, out]).toEqual([78, ''])
  expect(err).toMatch(/port/)
  expect(err).toMatch(/maxBody/)
  const json = await gw(['config', 'check', '--json'], { cwd: bad })
  expect([json.code, JSON.parse(json.out).ok]).toEqual([78, false])
})

test('G13: config print shows what file, environment and defaults come to, without secrets', async () => {
  const cwd = folderWith({ port: 9_000, apiTokens: { ann: 'token-of-ann' } })
  const { code, out } = await gw(['config', 'print'], { cwd, env: { GW_DATA_DIR: '/srv/gateway' } })
  expect(code).toBe(0)
  expect(JSON.parse(out)).toMatchObject({ port: 9_000, dataDir: '/srv/gateway', host: '127.0.0.1' })
  expect(out).not.toContain('token-of-ann')
})

test('G13: config diff shows what differs from the defaults, old and new', async () => {
  const cwd = folderWith({ port: 9_000, maxWorkers: 1_000 })
  const { code, out } = await gw(['config', 'diff'], { cwd })
  expect([code, out.split('\n').filter((line) => /port|maxWorkers/.test(line))]).toEqual([
    0,
    ['- port: 8000', '+ port: 9000'],
  ])
})

test('G13: config schema is a JSON Schema', async () => {
  const { code, out } = await gw(['config', 'schema'])
  expect(code).toBe(0)
  expect(JSON.parse(out)).toMatchObject({ type: 'object', properties: { port: expect.anything() } })
})
