import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openDatabase } from '../src/index.ts'

const module = new URL('./procedures.ts', import.meta.url).href
const put = (key: string) => ({ procedure: `${module}#put`, args: { key, value: 'v'.repeat(700) } })
const units = 12
const [pageBytes, headerBytes, frameHeaderBytes] = [4_096, 32, 24]
const frameBytes = frameHeaderBytes + pageBytes

const folder = mkdtempSync(join(tmpdir(), 'gw-sqlite-damage-'))
let directories = 0
const freshDirectory = () => join(folder, `data-${directories++}`)

afterAll(() => rmSync(folder, { recursive: true }))

interface Files {
  readonly file: Buffer
  readonly log: Buffer
}

interface Refusal {
  readonly code: string
  readonly message: string
}

/** What a killed process leaves: twelve units of two rows, a commit each, all in the log; after them, if asked, an older log's frames. */
async function left({ behindOlder = false } = {}): Promise<Files> {
  const db = await openDatabase({ directory: freshDirectory() })
  await db.migrate('test', ['CREATE TABLE item (key TEXT UNIQUE, value TEXT)'])
  for (let i = 0; i < units; i++) {
    const unit = db.unit()
    for (const name of ['a', 'b']) unit.add(put(`${i}${name}`))
    await unit.commit()
  }
  const files = { file: readFileSync(db.file), log: readFileSync(`${db.file}-wal`) }
  await db.close()
  if (!behindOlder) return files
  const again = await openDatabase({ directory: freshDirectory() })
  await again.migrate('test', ['CREATE TABLE item (key TEXT UNIQUE, value TEXT)'])
  const shorter = { file: readFileSync(again.file), log: readFileSync(`${again.file}-wal`) }
  await again.close()
  return { file: shorter.file, log: Buffer.concat([shorter.log, files.log.subarray(shorter.log.length)]) }
}

/** The rows that a database with these files has, or the error of its opening. */
async function opened({ file, log }: Files): Promise<string[] | Refusal> {
  const directory = freshDirectory()
  mkdirSync(directory, { mode: 0o700 })
  const path = join(directory, 'gateway.db')
  writeFileSync(path, file)
  writeFileSync(`${path}-wal`, log)
  try {
    const db = await openDatabase({ directory })
    const tables = db.reader.all("SELECT 1 FROM sqlite_master WHERE name = 'item'")
    const rows = tables.length === 0 ? [] : db.reader.all<{ key: string }>('SELECT key FROM item ORDER BY rowid')
    await db.close()
    return rows.map(({ key }) => key)
  } catch (error) {
    expect([readFileSync(path).equals(file), readFileSync(`${path}-wal`).equals(log)]).toEqual([true, true])
    return error as Refusal
  }
}

const rows = (n: number) => Array.from({ length: n }, (_, i) => [`${i}a`, `${i}b`]).flat()
const frameAt = (offset: number) => Math.floor((offset - headerBytes) / frameBytes)

/** The frames with which commits end. */
function commitsOf(log: Buffer): number[] {
  const frames = Array.from({ length: Math.floor((log.length - headerBytes) / frameBytes) }, (_, i) => i)
  return frames.filter((i) => log.readUInt32BE(headerBytes + i * frameBytes + 4) !== 0)
}

test('C5: a log that ends anywhere gives the units whose commits are whole, and no piece of another', async () => {
  const { file, log } = await left()
  const commits = commitsOf(log)
  const ends = new Set<number>([0, 1, headerBytes - 1, headerBytes, log.length])
  for (const commit of commits)
    for (const nudge of [-frameBytes, -pageBytes, -1, 0, 1, frameHeaderBytes])
      ends.add(Math.min(log.length, headerBytes + (commit + 1) * frameBytes + nudge))
  for (const end of ends) {
    const whole = commits.filter((commit) => headerBytes + (commit + 1) * frameBytes <= end).length
    const of = Math.max(0, whole - (commits.length - units))
    expect(await opened({ file, log: log.subarray(0, end) }), `cut to ${end} bytes`).toEqual(rows(of))
  }
}, 120_000)

test('C5: a log that is broken in front of intact commits is refused, says where, and is left as it is; at its end it is a crash', async () => {
  const { file, log } = await left()
  const commits = commitsOf(log)
  const last = commits.at(-2)!
  const places = [16, 24]
  for (let frame = 0; frame <= commits.at(-1)!; frame += 3)
    for (const within of [0, 4, 8, 16, frameHeaderBytes, frameHeaderBytes + 100, frameBytes - 1])
      places.push(headerBytes + frame * frameBytes + within)
  for (const place of places) {
    const broken = Buffer.from(log)
    broken[place]! ^= 1
    const found = await opened({ file, log: broken })
    const frame = Math.max(0, frameAt(place))
    // A mark that makes a commit of any frame in the last one: what follows it seems another.
    if (frame > last && place === headerBytes + frame * frameBytes + 4) continue
    if (frame > last) expect(found, `byte ${place}`).toEqual(rows(units - 1))
    else {
      expect(found, `byte ${place}`).toMatchObject({ code: 'storage_failed' })
      expect((found as Refusal).message).toMatch(
        new RegExp(
          `frame ${frame + 1},.* cut it to ${place < headerBytes ? 0 : headerBytes + frame * frameBytes} bytes`,
        ),
      )
    }
  }
}, 120_000)

test('C5: a log with a commit that was not synced proves nothing of the disk, and opens with what is whole', async () => {
  const db = await openDatabase({ directory: freshDirectory() })
  await db.migrate('test', ['CREATE TABLE item (key TEXT UNIQUE, value TEXT)'])
  for (const [key, durability] of [
    ['a', 'fsync'],
    ['b', 'os'],
    ['c', 'fsync'],
  ] as const)
    await db.write(put(key), { durability })
  const copy = freshDirectory()
  cpSync(db.directory, copy, { recursive: true, filter: (path) => !path.includes('lock') })
  await db.close()
  const log = readFileSync(join(copy, 'gateway.db-wal'))
  log[headerBytes + commitsOf(log).at(-2)! * frameBytes + 500]! ^= 1
  writeFileSync(join(copy, 'gateway.db-wal'), log)
  for (const keys of [['a'], ['a']]) {
    const again = await openDatabase({ directory: copy })
    expect(again.reader.all<{ key: string }>('SELECT key FROM item').map(({ key }) => key)).toEqual(keys)
    await again.close()
  }
  expect(readdirSync(copy).filter((name) => name.includes('unsynced'))).toEqual([])
})

test('C5: a log cut where the refusal says opens with what was whole', async () => {
  const { file, log } = await left()
  const broken = Buffer.from(log)
  const third = commitsOf(log).at(-(units - 2))!
  broken[headerBytes + third * frameBytes + 500]! ^= 1
  const refusal = await opened({ file, log: broken })
  const [, bytes = ''] = / cut it to (\d+) bytes/.exec((refusal as Refusal).message) ?? []
  expect(await opened({ file, log: broken.subarray(0, Number(bytes)) })).toEqual(rows(2))
})

test('C5: frames of an older log behind the newest commit are no damage', async () => {
  expect(await opened(await left({ behindOlder: true }))).toEqual([])
})

test('C5: a damaged file is refused and left as it is', async () => {
  const directory = freshDirectory()
  const db = await openDatabase({ directory })
  await db.migrate('test', ['CREATE TABLE item (key TEXT UNIQUE, value TEXT)'])
  for (let i = 0; i < 50; i++) await db.write(put(`k${i}`))
  await db.close()
  const whole = readFileSync(db.file)
  const log = Buffer.alloc(0)
  for (let page = 0; page < whole.length / pageBytes; page++) {
    const file = Buffer.from(whole).fill(0, page * pageBytes, (page + 1) * pageBytes)
    expect(await opened({ file, log }), `page ${page + 1}`).toMatchObject({ code: 'storage_failed' })
  }
  for (const file of [whole.subarray(0, whole.length / 2), Buffer.from('not a database '.repeat(1_000))])
    expect(await opened({ file, log })).toMatchObject({ code: 'storage_failed' })
})

test('options that cannot be right are refused by name before anything is made', async () => {
  const directory = freshDirectory()
  for (const [name, value] of [
    ['directory', ''],
    ['durability', 'safe'],
    ['maxPending', 0],
    ['onFull', 'drop'],
    ['deadlineMs', 0],
    ['sync', true],
  ] as const) {
    const options = { directory, [name]: value } as never
    await expect(openDatabase(options), name).rejects.toMatchObject({
      code: 'invalid_option',
      message: expect.stringContaining(`\`${name}\``),
    })
  }
  expect(() => readFileSync(directory)).toThrow('ENOENT')
})
