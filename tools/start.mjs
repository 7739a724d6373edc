// npm start: installs with the pinned pnpm, builds, and runs the reference gateway on the embedded default.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { install, pnpm, root } from './pnpm.mjs'

install()
pnpm('run', 'build', '--output-logs=errors-only', '--log-order=grouped')

const node = join(root, 'node_modules', '.bin', 'node')
const gateway = spawn(node, [join(root, 'apps/gateway/dist/cli.js'), 'start', ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => gateway.kill(signal))
gateway.on('exit', (code, signal) => process.exit(code ?? (signal ? 1 : 0)))
