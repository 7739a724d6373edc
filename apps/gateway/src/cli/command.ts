import { type Command, InvalidArgumentError, Option } from 'commander'
import { type ExitCode, exit } from './failure.ts'

/** What the help of a command says beside its options. */
export interface CommandHelp {
  readonly examples: readonly string[]
  /** What each exit code means; 0 is there without being named, and so is that of a wrong command line. */
  readonly exits?: Partial<Readonly<Record<ExitCode, string>>>
}

const always: Partial<Readonly<Record<ExitCode, string>>> = { [exit.usage]: 'the command line is wrong' }

/** The exit codes of a command that asks a running gateway. */
export const onlineExits = {
  [exit.failed]: 'the gateway refused, and said why',
  [exit.unavailable]: 'no gateway answers',
  [exit.denied]: 'the token is missing, wrong, or may only read',
} as const satisfies Partial<Record<ExitCode, string>>

/** The exit codes of a command that reads the configuration and opens the stores itself. */
export const offlineExits = {
  [exit.failed]: 'it failed, and said why',
  [exit.unavailable]: 'a store does not answer',
  [exit.configuration]: 'the configuration is refused',
} as const satisfies Partial<Record<ExitCode, string>>

const helps = new WeakMap<Command, CommandHelp>()

/** What {@link documented} was given for a command. */
export function helpOf(command: Command): CommandHelp | undefined {
  return helps.get(command)
}

/** What each exit code of a command means, in their order. */
export function exitsOf({ exits = {} }: CommandHelp): readonly (readonly [code: string, meaning: string])[] {
  return Object.entries({ [exit.done]: 'done', ...exits, ...always }).sort(([a], [b]) => Number(a) - Number(b))
}

/** Adds examples and exit codes to the help of a command. */
export function documented(command: Command, help: CommandHelp): Command {
  helps.set(command, help)
  const { examples } = help
  const lines = [
    '',
    examples.length === 1 ? 'Example:' : 'Examples:',
    ...examples.map((example) => `  ${example}`),
    '',
    'Exit codes:',
    ...exitsOf(help).map(([code, meaning]) => `  ${code.padEnd(4)} ${meaning}`),
  ]
  return command.addHelpText('after', lines.join('\n'))
}

/** `--json`, the same everywhere. */
export function jsonOption(): Option {
  return new Option('--json', 'for programs: one JSON value instead of a table')
}

/** `--config`, the same everywhere. */
export function configOption(): Option {
  return new Option('--config <file>', 'instead of gateway.config.{ts,js,json,yaml} (GW_CONFIG)')
}

/** Reads an option that is a whole number from `least` on. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (/^\d+$/.test(text.trim()) && value >= least && value <= most) return value
    throw new InvalidArgumentError(
      `Expected a whole number ${most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`}.`,
    )
  }
}

/** Reads an option that may be repeated. */
export function repeated(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text]
}

/**
 * Calls a function of a module that is loaded when it is needed: a command is not to wait for what others are made of. What commander
 * adds behind arguments and options is left out.
 */
export function lazily<Args extends readonly unknown[]>(
  load: () => Promise<(...args: Args) => unknown>,
): (...args: [...Args, ...unknown[]]) => Promise<void> {
  return async (...args) => {
    const run = await load()
    await run(...(args.slice(0, -1) as unknown as Args))
  }
}
