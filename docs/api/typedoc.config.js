// Every door of every package, as its package.json names them.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')
const packages = ['sqlite', 'postgres', 'checkpoint', 'dedup', 'events', 'breaker', 'pool'].map(
  (name) => `packages/${name}`,
)

const entryPoints = [...packages, 'apps/gateway'].flatMap((folder) => {
  const { exports } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
  return Object.values(exports).flatMap((door) =>
    door['@gw/source'] === undefined ? [] : [join(root, folder, door['@gw/source'])],
  )
})

/** @type {Partial<import('typedoc').TypeDocOptions>} */
const options = {
  name: 'Durable Gateway',
  entryPoints,
  tsconfig: join(import.meta.dirname, 'tsconfig.json'),
  out: join(import.meta.dirname, 'out'),
  readme: join(root, 'README.md'),
  basePath: root,
  disableSources: true,
  treatWarningsAsErrors: true,
  excludeInternal: true,
}

// biome-ignore lint/style/noDefaultExport: typedoc finds it by that
export default options
