import { createInterface } from 'node:readline/promises'
import { CommandError, exit } from './failure.ts'

/** Asks on the terminal; without one, `--yes` must have said it. */
export async function confirmed(question: string, yes: boolean): Promise<boolean> {
  if (yes) return true
  if (process.stdin.isTTY !== true || process.stderr.isTTY !== true)
    throw new CommandError(`${question} Say so with --yes: there is no terminal to ask on`, exit.usage)
  const asking = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await asking.question(`${question} [y/N] `)
    return /^y(?:es)?$/i.test(answer.trim())
  } catch {
    // Ctrl-C or Ctrl-D at the question.
    process.stderr.write('\n')
    return false
  } finally {
    asking.close()
  }
}
