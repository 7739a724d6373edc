// Builds what the dashboard sends to browsers, one module and one style sheet, into a module of strings: the server that carries
// them needs no files beside it, from `src` as from `dist`.
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const at = (path) => fileURLToPath(new URL(`../src/dashboard/${path}`, import.meta.url))
const shared = {
  bundle: true,
  minify: true,
  write: false,
  target: ['chrome111', 'firefox113', 'safari16.4'],
  legalComments: 'none',
}
const [module, style] = await Promise.all([
  build({ ...shared, entryPoints: [at('client/index.ts')], format: 'esm' }),
  build({ ...shared, entryPoints: [at('styles/index.css')] }),
])
const text = ({ outputFiles: [file] }) => JSON.stringify(file.text.trimEnd())
writeFileSync(
  at('bundle.ts'),
  `// Made by tools/bundle.mjs from client/ and styles/.\nexport const moduleText: string = ${text(module)}\nexport const styleText: string = ${text(style)}\n`,
)
