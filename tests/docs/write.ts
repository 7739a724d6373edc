// `pnpm docs:write`: writes the pages that are made from the code.
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { adminApiPage } from './admin-api.ts'
import { configurationPage } from './configuration.ts'

const page = (name: string) => fileURLToPath(new URL(`../../docs/${name}`, import.meta.url))
writeFileSync(page('configuration.md'), configurationPage())
writeFileSync(page('admin-api.md'), await adminApiPage())
