// The simulator's part of npm test: no history of the real packages breaks a rule, and those of each planted bug do.
import { spawnSync } from 'node:child_process'
import { setPriority } from 'node:os'
import { root } from './pnpm.mjs'

const nightly = process.argv[2] === 'nightly'
// It needs a processor and nothing else, and gives way to what is tested meanwhile.
setPriority(10)

function sim(...args) {
  const { status } = spawnSync(process.execPath, ['tests/sim/sim.ts', ...args], { cwd: root, stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}

sim('--seeds', nightly ? '1000000' : '5000')
sim('--mutants', ...(nightly ? [] : ['--known', '--seeds', '6000']))
