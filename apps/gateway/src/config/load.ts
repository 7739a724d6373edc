import { readFileSync } from 'node:fs'
import { loadConfig as loadWithC12 } from 'c12'
import { GatewayError } from '../errors.ts'
import { configSchema, type GatewayConfig, type GatewayConfigInput } from './schema.ts'
import { variables } from './variables.ts'

/** Where a configuration comes from; a later source wins: file, environment, flags. */
export interface ConfigSources {
  /** Where `gateway.config.{ts,js,json,yaml}` is looked for. */
  readonly cwd: string
  /** A file to read instead; it must exist. */
  readonly file?: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  readonly flags?: GatewayConfigInput
}

/** A configuration, and the file that it came from. */
export interface LoadedConfig {
  readonly config: GatewayConfig
  /** What the three sources came to, before durations and sizes were read. */
  readonly input: GatewayConfigInput
  readonly file: string | undefined
}

/**
 * Reads and checks a configuration. Throws `GatewayError` `invalid_configuration` with every error of it at once, each with its
 * path, what was expected and which source it came from.
 */
export async function loadConfig({ cwd, file, env, flags = {} }: ConfigSources): Promise<LoadedConfig> {
  const { config: fromFile, configFile } = await readFile(cwd, file)
  if (configFile !== undefined && (typeof fromFile !== 'object' || fromFile === null || Array.isArray(fromFile)))
    throw new GatewayError('invalid_configuration', `${configFile} is not valid: expected an object with options`)
  const input: Record<string, unknown> = { ...fromFile }
  const origins = new Map<string, string>()
  for (const { name, path, read } of variables) {
    const value = env[name]
    if (value === undefined || value === '') continue
    put(input, path, read(value))
    origins.set(path.join('.'), name)
  }
  for (const [name, value] of Object.entries(flags)) {
    if (value === undefined) continue
    for (const [path, leaf] of leaves([name], value)) {
      put(input, path, leaf)
      origins.set(path.join('.'), `--${path.join('-').replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`)
    }
  }
  const result = configSchema.safeParse(input)
  if (!result.success) {
    const lines = result.error.issues.flatMap((issue) => {
      const path = issue.path.map(String)
      const at = pathText(issue.path)
      if (issue.code === 'unrecognized_keys')
        return issue.keys.map((key) => `${[at, key].filter(Boolean).join('.')}: no such option`)
      const origin = origins.get(path.join('.'))
      return [`${at}${origin === undefined ? '' : ` (${origin})`}: ${issue.message}`]
    })
    throw new GatewayError(
      'invalid_configuration',
      `${configFile === undefined ? 'The configuration' : configFile} is not valid:\n${lines.map((line) => `  ${line}`).join('\n')}`,
    )
  }
  return { config: result.data, input: input as GatewayConfigInput, file: configFile }
}

async function readFile(cwd: string, file: string | undefined) {
  try {
    const { config, _configFile } = await loadWithC12<Record<string, unknown>>({
      cwd,
      name: 'gateway',
      rcFile: false,
      globalRc: false,
      dotenv: false,
      packageJson: false,
      envName: false,
      extend: false,
      giget: false,
      configFileRequired: file !== undefined,
      ...(file === undefined ? {} : { configFile: file }),
    })
    if (_configFile !== undefined && readFileSync(_configFile, 'utf8').trim() === '') throw new Error('it is empty')
    // Node keeps JSON modules for good; the file may have changed.
    if (_configFile?.endsWith('.json'))
      return { config: JSON.parse(readFileSync(_configFile, 'utf8')), configFile: _configFile }
    return { config, configFile: _configFile }
  } catch (cause) {
    // What parsers say behind the first line is the text itself, secrets and all.
    const [why] = (cause instanceof Error ? cause.message : String(cause)).split('\n')
    throw new GatewayError('invalid_configuration', `The configuration ${file ?? 'file'} cannot be read: ${why}`, {
      cause,
    })
  }
}

function put(target: Record<string, unknown>, [first, ...rest]: readonly [string, ...string[]], value: unknown): void {
  const [next, ...others] = rest
  if (next === undefined) {
    target[first] = value
    return
  }
  const inner = { ...((target[first] as Record<string, unknown> | undefined) ?? {}) }
  target[first] = inner
  put(inner, [next, ...others], value)
}

function leaves(path: readonly [string, ...string[]], value: unknown): [readonly [string, ...string[]], unknown][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [[path, value]]
  return Object.entries(value).flatMap(([name, inner]) => (inner === undefined ? [] : leaves([...path, name], inner)))
}

function pathText(path: readonly PropertyKey[]): string {
  let at = ''
  for (const part of path) at += typeof part === 'number' ? `[${part}]` : `${at === '' ? '' : '.'}${String(part)}`
  return at === '' ? 'the file' : at
}
