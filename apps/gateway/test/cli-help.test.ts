import { expect, test } from 'vitest'
import { gw } from './cli-process.ts'
import { builtProgram, leavesOf, referenceOf, writtenReference } from './cli-reference.ts'

const built = await builtProgram()
const { program, pathOf, helpOf } = built

function helpText(path: string): string {
  const gw = program()
  let shown = ''
  const command = leavesOf(gw).find((each) => pathOf(each) === path)!
  command.configureOutput({ writeOut: (text) => (shown += text), getOutHelpWidth: () => 80 })
  command.outputHelp()
  return shown
}

test('G12: every command of the specification is there', () => {
  const paths = leavesOf(program()).map((command) => pathOf(command).slice(3))
  const wanted = [
    ...['start', 'dev', 'doctor', 'backup', 'restore', 'migrate', 'bench', 'drain', 'inspect', 'init'],
    ...['ls', 'show', 'resume', 'cancel', 'retry', 'fork', 'resolve'].map((name) => `requests ${name}`),
    ...['tail', 'query', 'verify', 'prove', 'export', 'archive', 'erase', 'rebuild'].map((name) => `events ${name}`),
    ...['ls', 'show', 'open', 'close', 'reset'].map((name) => `breakers ${name}`),
    ...['ls', 'resize', 'refresh'].map((name) => `pools ${name}`),
    ...['show', 'release', 'erase'].map((name) => `keys ${name}`),
    ...['check', 'print', 'diff', 'schema'].map((name) => `config ${name}`),
  ]
  for (const path of wanted) expect(paths, path).toContain(path)
})

test('G12: the help of every command has a sentence, an example of it and its exit codes, within 80 columns', () => {
  for (const command of leavesOf(program())) {
    const path = pathOf(command)
    const help = helpText(path)
    expect(help, path).toMatch(new RegExp(`^Usage: ${path}`))
    expect(command.description(), path).not.toBe('')
    expect(help, path).toMatch(/\nExamples?:\n {2}/)
    expect(
      helpOf(command)!.examples.every((example) => example.includes(path)),
      `${path}: the examples are of it`,
    ).toBe(true)
    expect(help, path).toMatch(/\nExit codes:\n {2}0 {4}done/)
    for (const option of command.options)
      expect(option.description === '' ? option.long : option.description, path).toBeTruthy()
    const beforeExamples = help.slice(0, help.indexOf('\nExample'))
    for (const line of beforeExamples.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80)
  }
})

test('G12: docs/cli.md has every command as it is; node apps/gateway/test/cli-reference.ts writes it', () => {
  expect(writtenReference()).toBe(referenceOf(built))
})

test('G12: help, version and a wrong command line in a process: stdout and 0, or stderr and 64', async () => {
  const [help, group, version, unknown, option, missing, value] = await Promise.all([
    gw(['--help']),
    gw(['requests', 'ls', '--help']),
    gw(['--version']),
    gw(['requets']),
    gw(['requests', 'ls', '--colour']),
    gw(['inspect']),
    gw(['requests', 'ls', '--limit', '0']),
  ])
  expect([help.code, help.err]).toEqual([0, ''])
  for (const heading of ['Run a gateway:', 'Ask a running gateway:', 'Look after what is stored:'])
    expect(help.out).toContain(heading)
  expect([group.code, group.out]).toEqual([0, expect.stringContaining('Which requests:')])
  expect([version.code, version.out]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+\n$/)])
  expect([unknown.code, unknown.out, unknown.err]).toEqual([64, '', expect.stringContaining('Did you mean requests?')])
  expect([option.code, option.err]).toEqual([64, expect.stringContaining("unknown option '--colour'")])
  expect([missing.code, missing.err]).toEqual([64, expect.stringContaining("missing required argument 'place'")])
  expect([value.code, value.err]).toEqual([64, expect.stringContaining('Expected a whole number from 1 to 1000')])
})
