/** `node run.ts <folder of a source> <schedules>`: prints what the model finds there. */
import { pathToFileURL } from 'node:url'
import { checkSchedules } from './schedules.ts'
import type { Machine } from './world.ts'

const [folder, runs] = process.argv.slice(2) as [string, string]
const machine = (await import(pathToFileURL(`${folder}/index.ts`).href)) as Machine
const found = await checkSchedules(machine, Number(runs)).then(
  (coverage) => coverage,
  (error: Error) => error,
)
if (found instanceof Error) {
  const [, tests] = /failed after (\d+) test/.exec(found.message) ?? []
  const cause = found.cause instanceof Error ? found.cause.message : ''
  process.stdout.write(`caught after ${tests ?? '?'}: ${cause}\n${found.message}\n`, () => process.exit(0))
} else process.stdout.write(`nothing ${JSON.stringify(found)}\n`, () => process.exit(0))
