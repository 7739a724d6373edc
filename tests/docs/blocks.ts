import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** A fenced block of a document. */
export interface Block {
  /** The document, from the root of the repository. */
  readonly document: string
  /** The line of its fence. */
  readonly line: number
  readonly language: string
  /** What follows the language; what each means is in `docs.test.ts`. */
  readonly flag: string
  /** The name by which other blocks of the document import it: a first line `// file: name.ts`. */
  readonly file: string | undefined
  /** Why the block is not run, from the comment in front of it: `<!-- not run: … -->`. */
  readonly notRun: string | undefined
  readonly text: string
}

/** Every document whose blocks are held to. */
export function documents(): readonly string[] {
  const patterns = [
    '*.md',
    'packages/*/README.md',
    'apps/gateway/README.md',
    'docs/**/*.md',
    'tests/services/README.md',
  ]
  return globSync(patterns, { cwd: root, exclude: (path) => /node_modules|docs\/api\/out/.test(path) }).sort()
}

/** The text of a document. */
export function documentText(document: string): string {
  return readFileSync(root + document, 'utf8')
}

/** The fenced blocks of a document, in order. */
export function blocksOf(document: string, markdown: string = documentText(document)): readonly Block[] {
  const blocks: Block[] = []
  let open: { line: number; language: string; flag: string; notRun: string | undefined; lines: string[] } | undefined
  let before = ''
  for (const [index, line] of markdown.split('\n').entries()) {
    const fence = /^```(\w*) *(\w*)$/.exec(line)
    if (fence === null) {
      if (open !== undefined) open.lines.push(line)
      else if (line !== '') before = line
    } else if (open === undefined) {
      const notRun = /^<!-- not run: (.+) -->$/.exec(before)?.[1]
      open = { line: index + 1, language: fence[1] ?? '', flag: fence[2] ?? '', notRun, lines: [] }
    } else {
      const { lines, ...block } = open
      blocks.push({
        document,
        ...block,
        file: /^\/\/ file: ([\w.-]+\.ts)$/.exec(lines[0] ?? '')?.[1],
        text: `${lines.join('\n')}\n`,
      })
      open = undefined
      before = ''
    }
  }
  if (open !== undefined) throw new Error(`${document}:${open.line}: the block is not closed`)
  return blocks
}
