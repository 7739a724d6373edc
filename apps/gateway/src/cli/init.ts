import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { CommandError } from './failure.ts'
import { projectFiles } from './init/project.ts'
import { paint } from './terminal.ts'

/** `gw init`: makes a project to start from. What is there already stays. */
export function init(directory: string | undefined, { json = false }: { readonly json?: boolean }): void {
  const root = resolve(directory ?? '.')
  const name = nameOf(basename(root))
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    readonly version: string
  }
  const files = projectFiles(name, `^${version}`)
  const taken = Object.keys(files).filter((file) => existsSync(join(root, file)))
  if (taken.length > 0)
    throw new CommandError(
      `${root} has ${taken.join(', ')} already, and nothing is written over: name an empty directory, as in gw init my-gateway`,
    )
  for (const [file, text] of Object.entries(files)) {
    const path = join(root, file)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text, { flag: 'wx' })
  }
  if (json) {
    console.log(JSON.stringify({ directory: root, files: Object.keys(files) }))
    return
  }
  const there = relative(process.cwd(), root)
  console.log(
    [
      `${paint.green('Made')} ${root}`,
      ...Object.keys(files).map((file) => `  ${file}`),
      '',
      'Next:',
      ...(there === '' ? [] : [`  cd ${there}`]),
      ...(readdirSync(root).includes('node_modules') ? [] : ['  npm install']),
      '  npm run dev',
    ].join('\n'),
  )
}

/** A name that npm takes. */
function nameOf(folder: string): string {
  const name = folder
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+/, '')
  return name === '' ? 'my-gateway' : name
}
