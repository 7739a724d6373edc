// The part of npm test that needs servers; tests/services/run.ts starts them around it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pnpm, pnpmByLine, pnpmWhereItMay, root } from './pnpm.mjs'

const nightly = process.argv[2] === 'nightly'
// Sixty seconds of storm for the pool, histories of three operations.
if (nightly) process.env.GW_TEST_LONG = '1'

// All that is written on the way lies in one folder, which goes at the end. Servers run as users of their own, who enter it too.
const folder = mkdtempSync(join(tmpdir(), 'gw-test-'))
chmodSync(folder, 0o755)
process.env.TMPDIR = folder

// The suites wait for servers most of the time: the simulator takes what they leave of the processors.
const printed = join(folder, 'printed')
const output = openSync(printed, 'w')
const simulator = spawn(process.execPath, ['tools/simulate.mjs', nightly ? 'nightly' : 'release'], {
  cwd: root,
  stdio: ['ignore', output, output],
  detached: true,
})
const simulated = once(simulator, 'exit')
process.on('exit', () => {
  rmSync(folder, { recursive: true, force: true })
  try {
    process.kill(-simulator.pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
})

// What failed is told again at the end, where it is looked for: by suite, from its list of failures to its last figure.
const failures = []
const failing = new Set()
const suites = ['exec', 'turbo', 'run', 'test', '--concurrency=1', '--continue=always', '--output-logs=full']
const failed = await pnpmByLine(suites, (line) => {
  const [suite] = line.split(': ', 1)
  if (/Failed (Suites|Tests) \d|Unhandled Errors/.test(line)) failing.add(suite)
  if (failing.has(suite)) failures.push(line)
  if (/ Duration /.test(line)) failing.delete(suite)
})
if (failed !== 0) {
  console.log(failures.join('\n'))
  process.exit(failed)
}
const [code] = await simulated
process.stdout.write(readFileSync(printed))
if (code !== 0) process.exit(code ?? 1)

pnpm('run', 'crash', '--cycles', nightly ? '2000' : '10')
pnpm('run', 'crash', '--cycles', nightly ? '500' : '5', '--nodes', '3', '--store', 'postgres')
const refused = [
  ['--cycles', nightly ? '60' : '6', '--storage-faults'],
  ['--cycles', nightly ? '20' : '2', '--full-disk'],
  ['--each-call', '--every', nightly ? '1' : '60'],
  ['--each-call', '--every', nightly ? '2' : '60', '--power-cut'],
  ['--cycles', nightly ? '40' : '4', '--power-cut'],
  ['--cycles', nightly ? '4' : '2', '--power-cut', '--without-sync'],
].filter((args) => !pnpmWhereItMay('run', 'crash', ...args))
for (const args of refused) console.log(`Not tested, because this machine may not: crash ${args.join(' ')}`)
