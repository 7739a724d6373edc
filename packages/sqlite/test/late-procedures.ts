import { existsSync, writeFileSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import type { Connection } from '../src/unit.ts'

// Loading goes on when there is a file `sent` in the folder that the URL names, and ends when there is `go`: the messages that
// were sent before the one are received meanwhile, those before the other are not.
const folder = new URL(import.meta.url).searchParams.get('folder')!
const never = new Int32Array(new SharedArrayBuffer(4))
while (!existsSync(`${folder}/sent`)) await setImmediate()
for (let turn = 0; turn < 3; turn++) await setImmediate()
writeFileSync(`${folder}/received`, '')
while (!existsSync(`${folder}/go`)) Atomics.wait(never, 0, 0, 5)

export const procedures = {
  echo(_connection: Connection, value: number): number {
    return value
  },
}
