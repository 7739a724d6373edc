// Kills what its owner leaves behind. It is started with a pipe on stdin that only the owner holds, so the pipe ends when the owner does, however that happens.
// Lines: `+<folder>` takes the folder and its inhabitants into care, `-<folder>` dismisses them.
import { rmSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { exterminate, inhabitants, signalAll } from './inhabitants.ts'

const folders = new Set<string>()
for await (const line of createInterface({ input: process.stdin })) {
  const folder = line.slice(1)
  if (line.startsWith('+')) folders.add(folder)
  else folders.delete(folder)
}

await Promise.all([...folders].map(reap))

async function reap(folder: string): Promise<void> {
  // A PostgreSQL that is told to quit gives back its System V segment; one that is killed cannot.
  const found = inhabitants(folder)
  signalAll(found, 'SIGQUIT')
  signalAll(found, 'SIGCONT')
  for (let waited = 0; waited < 500 && inhabitants(folder).length > 0; waited += 20) await sleep(20)
  await exterminate(folder)
  // A child that was forked when the owner died may not have moved into the folder yet.
  await sleep(200)
  await exterminate(folder)
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
}
