import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { checkConformance, conformanceCases, conformanceTable } from '../src/conformance/index.ts'
import { conformanceServer, type PlantedBug, plantedBugs } from './conformance-server.ts'
import { afterwards } from './fixture.ts'

async function serve(bug?: PlantedBug | 'no keys'): Promise<string> {
  const server = await conformanceServer(bug)
  afterwards(() => server.stop())
  return server.url
}

const targetOf = (url: string) => ({
  url,
  path: '/pay',
  body: '{"amount":1,"currency":"EUR"}',
  headers: { 'x-user': 'ann' },
  otherHeaders: { 'x-user': 'bob' },
  slowPath: '/slow',
  requiredPath: '/order',
  getPath: '/payments',
})

test('a bare Hono app with dedup() keeps every case', async () => {
  const report = await checkConformance(targetOf(await serve()))
  expect(report.results.filter(({ outcome }) => outcome !== 'passed')).toEqual([])
  expect(report.passed).toBe(conformanceCases.length)
})

test('one without keys breaks what keys are for, by case', async () => {
  const { results } = await checkConformance(targetOf(await serve('no keys')))
  const broken = results.filter(({ outcome }) => outcome === 'failed').map(({ id }) => id)
  expect(broken).toEqual(
    expect.arrayContaining([
      'R1',
      'K1',
      'K2',
      'K3',
      'K4',
      'F4',
      'F1 query',
      'F3 order',
      'I1 once',
      'I1 409',
      'I2',
      'B4',
    ]),
  )
  expect(broken).not.toContain('unique')
})

describe('each of the planted bugs is found by its case', () => {
  for (const [name, { found, bug }] of Object.entries(plantedBugs)) {
    test(`${found}: ${name}`, async () => {
      const { results } = await checkConformance({ ...targetOf(await serve(bug)), cases: [found] })
      expect(results.filter(({ outcome }) => outcome === 'failed').map(({ id }) => id)).toContain(found)
    })
  }
})

test('what a case needs and has not got is said; a wrong target is refused', async () => {
  const url = await serve()
  const { slowPath, requiredPath, getPath, otherHeaders, ...less } = targetOf(url)
  const report = await checkConformance(less)
  expect([report.failed, report.notRun > 4]).toEqual([0, true])
  expect(conformanceTable(report)).toContain('needs `slowPath`')
  await expect(checkConformance({ ...less, body: '[]' })).rejects.toMatchObject({ code: 'invalid_option' })
  await expect(checkConformance({ ...less, timeout: 1 } as never)).rejects.toThrow('Unknown option `timeout`')
})

describe('the command', () => {
  const cli = fileURLToPath(new URL('../dist/node/cli.js', import.meta.url))
  const run = (...args: string[]) =>
    promisify(execFile)(process.execPath, [cli, 'conformance', ...args]).then(
      ({ stdout }) => ({ code: 0, stdout }),
      (error: { code: number; stdout: string }) => ({ code: error.code, stdout: error.stdout }),
    )
  const usual = ['--path', '/pay', '--body', '{"amount":1}', '--header', 'x-user:ann']

  test('prints a table, or JSON, and ends with 0 when all is kept', async () => {
    const url = await serve()
    const table = await run('--url', url, ...usual)
    expect([table.code, table.stdout]).toEqual([0, expect.stringContaining('0 broken')])
    const { code, stdout } = await run('--url', url, ...usual, '--json')
    expect([code, JSON.parse(stdout).failed]).toEqual([0, 0])
  })

  test('ends with 1 when something is broken, and with 2 when it was called wrongly', async () => {
    expect((await run('--url', await serve('no keys'), ...usual)).code).toBe(1)
    expect((await run('--path', '/pay')).code).toBe(2)
  })
})
