// Writes the commands of `gw` into docs/cli.md: `node apps/gateway/test/cli-reference.ts` from the repository's root, once it is built.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Argument, Command } from 'commander'

const file = fileURLToPath(new URL('../../../docs/cli.md', import.meta.url))
const [begin, end] = ['<!-- commands -->', '<!-- /commands -->']

/** What the built CLI has to say of its commands. */
export interface BuiltProgram {
  program(): Command
  helpOf(command: Command): { readonly examples: readonly string[] } | undefined
  exitsOf(help: object): readonly (readonly [code: string, meaning: string])[]
  pathOf(command: Command): string
}

/** The built CLI; its sources have JSX, which Node does not run. */
export async function builtProgram(): Promise<BuiltProgram> {
  const [program, command] = await Promise.all(
    ['program', 'command'].map((name) => import(new URL(`../dist/cli/${name}.js`, import.meta.url).href)),
  )
  return { ...command, ...program }
}

/** Every command that does something, in the order of the help. */
export function leavesOf(command: Command): Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leavesOf)
}

/** The reference as Markdown. */
export function referenceOf({ program, helpOf, exitsOf, pathOf }: BuiltProgram): string {
  return leavesOf(program())
    .map((command) => {
      const help = helpOf(command)
      if (help === undefined) throw new Error(`${pathOf(command)} has no examples and exit codes`)
      const options = command.options.filter(({ hidden }) => !hidden)
      return [
        `### ${[pathOf(command), ...command.registeredArguments.map(argumentText)].join(' ')}`,
        '',
        `${capital(command.description())}.`,
        '',
        '```sh',
        ...help.examples,
        '```',
        '',
        ...(options.length === 0
          ? []
          : [
              '| option | |',
              '|---|---|',
              ...options.map(
                ({ flags, description, defaultValue }) => `| \`${flags}\` | ${described(description, defaultValue)} |`,
              ),
              '',
            ]),
        `Exit codes: ${exitsOf(help)
          .map(([code, meaning]) => `${code} ${meaning}`)
          .join('; ')}.`,
      ].join('\n')
    })
    .join('\n\n')
}

function argumentText(argument: Argument): string {
  const text = `${argument.name()}${argument.variadic ? '...' : ''}`
  return argument.required ? `<${text}>` : `[${text}]`
}

function described(description: string, defaultValue: unknown): string {
  const shown = defaultValue === undefined ? '' : ` (${String(defaultValue)})`
  return `${description}${shown}`.trim()
}

function capital(text: string): string {
  return text[0]!.toUpperCase() + text.slice(1)
}

/** What docs/cli.md says of the commands. */
export function writtenReference(): string {
  const text = readFileSync(file, 'utf8')
  return text.slice(text.indexOf(begin) + begin.length, text.indexOf(end)).trim()
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = readFileSync(file, 'utf8')
  const reference = referenceOf(await builtProgram())
  writeFileSync(file, `${text.slice(0, text.indexOf(begin))}${begin}\n${reference}\n${text.slice(text.indexOf(end))}`)
}
