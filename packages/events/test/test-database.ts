import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Database, openDatabase } from '@gw/sqlite'

const open: Database[] = []
const directories: string[] = []

/** A folder that `closeDatabases` takes away. */
export function temporaryFolder(): string {
  const directory = mkdtempSync(join(tmpdir(), 'gw-events-'))
  directories.push(directory)
  return directory
}

/** An empty embedded database, closed by `closeDatabases`. */
export async function openTestDatabase(directory: string = join(temporaryFolder(), 'data')): Promise<Database> {
  const db = await openDatabase({ directory })
  open.push(db)
  return db
}

/** Closes and removes what the tests of a file opened. */
export async function closeDatabases(): Promise<void> {
  for (const db of open.splice(0)) await db.close()
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
}
