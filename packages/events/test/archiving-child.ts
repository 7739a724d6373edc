import { openDatabase } from '@gw/sqlite'
import { retain, segmentArchive } from '../src/archive.ts'
import { EventStore, project } from '../src/index.ts'
import { folderArchive } from '../src/node/folder.ts'
import { sqliteEventStore } from '../src/stores/sqlite.ts'
import { s3Of } from './test-s3.ts'

const [mode, directory, folder, killAt] = process.argv.slice(2) as [string, string, string, string]
const kill = () => process.kill(process.pid, 'SIGKILL')
const db = await openDatabase({ directory })

if (mode === 'archive' || mode === 'archive to S3') {
  const archive = segmentArchive({
    target: mode === 'archive' ? folderArchive({ path: folder }) : s3Of(JSON.parse(folder)),
    maxSegmentBytes: 4_000,
    onStep: (step) => {
      if (step === killAt) kill()
    },
  })
  await retain(new EventStore({ store: sqliteEventStore({ db }), archive }), { archive, maxEvents: 0 })
} else {
  let applied = 0
  const events = new EventStore({ store: sqliteEventStore({ db }) })
  const projection = project(events, {
    name: 'count',
    initial: 0,
    batch: 7,
    leaseMs: 50,
    apply: (n: number) => {
      applied++
      if (applied === Number(killAt)) kill()
      return n + 1
    },
    effect: async () => {
      if (`effect${applied}` === killAt) kill()
    },
  })
  await projection.whenProcessed((await events.store.head()).position)
  console.log(await projection.state())
  await events.stop()
}
await db.close()
