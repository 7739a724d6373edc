/** Runs one scenario and prints what came of it; the parent ends it at a deadline. */
import { scenarios } from './scenarios.ts'

const [name, side] = process.argv.slice(2) as [string, 'bare' | 'ours']
// A pending promise keeps no process alive, and one that waits for ever is to be seen waiting.
const waiting = setInterval(() => {}, 1_000)
const outcome = await scenarios[name]![side]()
console.log(JSON.stringify(outcome))
clearInterval(waiting)
// Pools that are left alone would keep it going.
process.exit()
