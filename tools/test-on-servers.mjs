// The part of npm test that needs servers; tests/services/run.ts starts them around it.
import { pnpm } from './pnpm.mjs'

const nightly = process.argv[2] === 'nightly'

pnpm('exec', 'turbo', 'run', 'test', '--concurrency=1', '--output-logs=full')
pnpm('run', 'sim', '--seeds', nightly ? '1000000' : '5000')
pnpm('run', 'sim', '--mutants')
pnpm('run', 'crash', '--cycles', nightly ? '2000' : '20')
