import { DedupError, onlyKnown } from '../errors.ts'
import { type ConformanceCase, conformanceCases } from './cases.ts'
import { Client, type ConformanceTarget } from './target.ts'

export { type ConformanceCase, conformanceCases } from './cases.ts'
export type { Client, ConformanceTarget, Reply, Variation } from './target.ts'

/** What became of one case. */
export interface ConformanceResult {
  readonly id: string
  readonly title: string
  readonly draft: boolean
  readonly outcome: 'passed' | 'failed' | 'not_run'
  /** What was found, or what the case needs to be run. */
  readonly detail?: string
}

/** What a server keeps of the contract. */
export interface ConformanceReport {
  readonly url: string
  readonly passed: number
  readonly failed: number
  readonly notRun: number
  readonly results: readonly ConformanceResult[]
}

const known = new Set([
  'url',
  'path',
  'body',
  'method',
  'headers',
  'otherHeaders',
  'slowPath',
  'requiredPath',
  'getPath',
  'cases',
  'fetch',
])

/** Holds a server to the contract, case by case. Rejects only when the target cannot be right. */
export async function checkConformance(target: ConformanceTarget): Promise<ConformanceReport> {
  onlyKnown(target, known)
  if (!URL.canParse(target.url))
    throw new DedupError('invalid_option', `Expected \`url\` to be a URL, got \`${target.url}\``)
  if (!isObject(target.body))
    throw new DedupError('invalid_option', `Expected \`body\` to be a JSON object, got \`${target.body}\``)
  for (const id of target.cases ?? [])
    if (!conformanceCases.some((each) => each.id === id))
      throw new DedupError('invalid_option', `Expected \`cases\` to name known cases, got \`${id}\``)
  const client = new Client(target)
  const wanted = conformanceCases.filter(({ id }) => target.cases?.includes(id) ?? true)
  const results: ConformanceResult[] = []
  for (const each of wanted) results.push(await resultOf(each, client))
  const count = (outcome: ConformanceResult['outcome']) => results.filter((result) => result.outcome === outcome).length
  return { url: target.url, passed: count('passed'), failed: count('failed'), notRun: count('not_run'), results }
}

async function resultOf({ id, title, draft, needs, run }: ConformanceCase, client: Client): Promise<ConformanceResult> {
  if (needs !== undefined && client.target[needs] === undefined)
    return { id, title, draft, outcome: 'not_run', detail: `needs \`${needs}\`` }
  try {
    await run(client)
    return { id, title, draft, outcome: 'passed' }
  } catch (error) {
    return { id, title, draft, outcome: 'failed', detail: error instanceof Error ? error.message : String(error) }
  }
}

function isObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
  } catch {
    return false
  }
}

/** The report as a table of text. */
export function conformanceTable({ url, passed, failed, notRun, results }: ConformanceReport): string {
  const sign = { passed: 'ok  ', failed: 'FAIL', not_run: '-   ' } as const
  const width = Math.max(...results.map(({ id }) => id.length))
  const lines = results.map(({ id, title, draft, outcome, detail }) => {
    const line = `${sign[outcome]}  ${id.padEnd(width)}  ${draft ? 'draft   ' : 'contract'}  ${title}`
    return detail === undefined ? line : `${line}\n${' '.repeat(width + 18)}${detail}`
  })
  return [...lines, '', `${url}: ${passed} kept, ${failed} broken, ${notRun} not run`].join('\n')
}
