// npm test: installs, builds, checks and runs every test of the release tier. `npm run nightly` runs the long crash test instead of the short one.
import { install, pnpm } from './pnpm.mjs'
import { tryStart } from './try-start.mjs'

const nightly = process.argv[2] === 'nightly'
const began = Date.now()

install()
pnpm('run', 'build', '--output-logs=errors-only')
await tryStart()
pnpm('run', 'lint')
pnpm('run', 'typecheck', '--output-logs=errors-only')
pnpm('run', 'check:package', '--output-logs=errors-only')
pnpm('run', 'pack:check')
const tests = ['node', 'tools/test-on-servers.mjs', nightly ? 'nightly' : 'release']
pnpm('exec', 'node', 'tests/services/run.ts', '--s3', '--', ...tests)

console.log(
  `\nAll of ${nightly ? 'the nightly tier' : 'npm test'} passed in ${Math.round((Date.now() - began) / 1000)} s.`,
)
