// `pnpm docs:write`: writes the pages, and what JSR is told of each package, that are made from the code.
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { denoJsonOf, libraries } from '../runtimes/jsr.ts'
import { adminApiPage } from './admin-api.ts'
import { configurationPage } from './configuration.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const page = (name: string) => `${root}docs/${name}`
writeFileSync(page('configuration.md'), configurationPage())
writeFileSync(page('admin-api.md'), await adminApiPage())
for (const folder of libraries) writeFileSync(`${root}${folder}/deno.json`, denoJsonOf(folder))
