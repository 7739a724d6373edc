import { spawnSync } from 'node:child_process'
import { Unavailable } from './unavailable.ts'

/** Throws where strace may not trace. */
export function mayTrace(): void {
  const { status, stderr } = spawnSync('strace', ['-o', '/dev/null', 'true'], { encoding: 'utf8' })
  if (status !== 0)
    throw new Unavailable(
      `It needs strace, which may not trace here (${stderr.trim()}): allow it to, in a container with \`--cap-add SYS_PTRACE\``,
    )
}
