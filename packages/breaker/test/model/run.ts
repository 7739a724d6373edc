/** `node run.ts <folder of a source> <schedules>`: prints what the model finds there. */
import { pathToFileURL } from 'node:url'
import { checkSchedules, type Machine } from './schedules.ts'

const [folder, runs] = process.argv.slice(2) as [string, string]
const machine = (await import(pathToFileURL(`${folder}/index.ts`).href)) as Machine
const found = await checkSchedules(machine, Number(runs)).then(
  () => undefined,
  (error: Error) => error,
)
const [, tests] = /failed after (\d+) test/.exec(found?.message ?? '') ?? []
console.log(found === undefined ? 'nothing' : `caught after ${tests ?? found.message}`)
