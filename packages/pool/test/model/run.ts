/** `node run.ts <folder of a source> <schedules>`: prints what the schedules find there. */
import { pathToFileURL } from 'node:url'
import { checkSchedules, type Machine } from './schedule.ts'

const [folder, runs] = process.argv.slice(2) as [string, string]
const machine = (await import(pathToFileURL(`${folder}/index.ts`).href)) as Machine
// A bug may end in a promise that nobody hears.
process.on('unhandledRejection', () => {})
const found = await checkSchedules(machine, Number(runs)).then(
  () => undefined,
  (error: Error) => error,
)
const [, tests] = /failed after (\d+) test/.exec(found?.message ?? '') ?? []
console.log(found === undefined ? 'nothing' : `caught after ${tests ?? found.message}`)
process.exit()
