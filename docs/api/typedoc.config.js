// Every door of every package, as its package.json names them.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')
const packages = ['sqlite', 'postgres', 'checkpoint', 'dedup', 'events', 'breaker', 'pool'].map(
  (name) => `packages/${name}`,
)
const folders = [...packages, 'apps/gateway']
const manifestOf = (folder) => JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))

const entryPoints = folders.flatMap((folder) =>
  Object.values(manifestOf(folder).exports).flatMap((door) =>
    door['@gw/source'] === undefined ? [] : [join(root, folder, door['@gw/source'])],
  ),
)

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
  validation: { notExported: true, invalidLink: true, rewrittenLink: true, notDocumented: true },
  // By default only the package of this folder would have to.
  packagesRequiringDocumentation: folders.map((folder) => manifestOf(folder).name),
  requiredToBeDocumented: ['Class', 'Interface', 'TypeAlias', 'Variable'],
  excludeInternal: true,
}

// biome-ignore lint/style/noDefaultExport: typedoc finds it by that
export default options
