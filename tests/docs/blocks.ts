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
  /** What follows the language: `types` for a block that is checked and not run, `signature` for one that is neither. */
  readonly flag: string
  /** The name by which other blocks of the document import it: a first line `// file: name.ts`. */
  readonly file: string | undefined
  readonly text: string
}

/** Every document whose blocks are held to. */
export function documents(): readonly string[] {
  return globSync(['README.md', 'packages/*/README.md', 'apps/gateway/README.md', 'docs/**/*.md'], { cwd: root }).sort()
}

/** The fenced blocks of a document, in order. */
export function blocksOf(document: string, markdown: string = readFileSync(root + document, 'utf8')): readonly Block[] {
  const blocks: Block[] = []
  let open: { line: number; language: string; flag: string; lines: string[] } | undefined
  for (const [index, line] of markdown.split('\n').entries()) {
    const fence = /^```(\w*) *(\w*)$/.exec(line)
    if (fence === null) open?.lines.push(line)
    else if (open === undefined) open = { line: index + 1, language: fence[1] ?? '', flag: fence[2] ?? '', lines: [] }
    else {
      const { lines, ...block } = open
      blocks.push({
        document,
        ...block,
        file: /^\/\/ file: ([\w.-]+\.ts)$/.exec(lines[0] ?? '')?.[1],
        text: `${lines.join('\n')}\n`,
      })
      open = undefined
    }
  }
  if (open !== undefined) throw new Error(`${document}:${open.line}: the block is not closed`)
  return blocks
}
