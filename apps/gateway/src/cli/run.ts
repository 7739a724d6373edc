import { CommanderError } from 'commander'
import { exit, exitCodeOf, messageOf } from './failure.ts'
import { program } from './program.ts'
import { paintAside } from './terminal.ts'

/** Runs a command line. What fails is one sentence on stderr and an exit code. */
export async function run(argv: readonly string[]): Promise<void> {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // Whoever reads has seen enough, as in `gw requests ls | head -1`.
      if (error.code === 'EPIPE') process.exit(process.exitCode ?? exit.done)
      throw error
    })
  try {
    await program().parseAsync([...argv])
  } catch (error) {
    if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? exit.done : exit.usage)
    console.error(paintAside.red(messageOf(error)))
    process.exit(exitCodeOf(error))
  }
}
