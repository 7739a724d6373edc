// The part of npm test that needs servers; tests/services/run.ts starts them around it.
import { pnpm } from './pnpm.mjs'

const nightly = process.argv[2] === 'nightly'
// Sixty seconds of storm for the pool, histories of three operations.
if (nightly) process.env.GW_TEST_LONG = '1'

pnpm('exec', 'turbo', 'run', 'test', '--concurrency=1', '--continue=always', '--output-logs=full')
pnpm('run', 'sim', '--seeds', nightly ? '1000000' : '5000')
pnpm('run', 'sim', '--mutants', ...(nightly ? [] : ['--seeds', '6000']))
pnpm('run', 'crash', '--cycles', nightly ? '2000' : '20')
pnpm('run', 'crash', '--cycles', nightly ? '500' : '6', '--nodes', '3', '--store', 'postgres')
