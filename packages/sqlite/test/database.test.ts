import { spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { type Database, type DatabaseOptions, type FaultPorts, openDatabase, type SqlValue } from '../src/index.ts'

const module = new URL('./procedures.ts', import.meta.url).href
const put = (key: string, value = 'v') => ({ procedure: `${module}#put`, args: { key, value } })
const run = (sql: string, ...params: SqlValue[]) => ({ procedure: `${module}#run`, args: { sql, params } })
const named = (name: string) => ({ procedure: `${module}#${name}`, args: undefined })
const refuse = (reason: unknown) => ({ procedure: `${module}#refuse`, args: reason })
const schema = ['CREATE TABLE item (key TEXT UNIQUE, value TEXT)']
const open: Database[] = []
const folders: string[] = []

async function database(options: Partial<DatabaseOptions> = {}, faults: FaultPorts = {}): Promise<Database> {
  const db = await openDatabase({ directory: directory(), ...options }, faults)
  open.push(db)
  await db.migrate('test', schema)
  return db
}

/** A folder that is gone after the test: some of them are large. */
function folderFor(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `gw-${name}-`))
  folders.push(folder)
  return folder
}

function directory(): string {
  return join(folderFor('sqlite'), 'data')
}

function keys(db: Database): string[] {
  return db.reader.all<{ key: string }>('SELECT key FROM item ORDER BY rowid').map(({ key }) => key)
}

function code(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'no error',
    (error: { code: string }) => error.code,
  )
}

afterEach(async () => {
  for (const db of open.splice(0)) await db.close()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

describe('group commit', () => {
  test('writes that arrive together share a commit', async () => {
    const db = await database()
    await Promise.all(Array.from({ length: 500 }, (_, i) => db.write(put(`k${i}`))))
    expect(keys(db)).toHaveLength(500)
    // The writer may begin while the others are still on their way to it.
    expect(db.health.commits).toBeLessThan(50)
  })

  test('the log stays short, however much a unit writes', async () => {
    const db = await database()
    const log = join(db.directory, 'gateway.db-wal')
    const large = 'x'.repeat(4 * 1024 * 1024)
    const lengths: number[] = []
    for (let i = 0; i < 40; i++) {
      await db.write(put(`k${i}`, large))
      lengths.push(statSync(log).size)
    }
    const most = Math.max(...lengths)
    expect(most).toBeGreaterThan(32 * 1024 * 1024)
    expect(most).toBeLessThan(40 * 1024 * 1024)
    // It is used again from the start, instead of being cut to nothing and grown each time.
    expect(lengths.at(-1)).toBeGreaterThanOrEqual(32 * 1024 * 1024)
  })

  test('a log that does not fit into the file is kept, and moved when there is room', async () => {
    const db = await database({}, { fullCheckpoints: 1 })
    const log = join(db.directory, 'gateway.db-wal')
    const lengths: number[] = []
    for (let i = 0; i < 30; i++) {
      await db.write(put(`k${i}`, 'x'.repeat(4 * 1024 * 1024)))
      lengths.push(statSync(log).size)
    }
    const most = Math.max(...lengths)
    expect(most).toBeGreaterThan(48 * 1024 * 1024)
    expect(most).toBeLessThan(60 * 1024 * 1024)
    expect(lengths.at(-1)).toBeLessThan(40 * 1024 * 1024)
    expect([db.health.state, keys(db).length]).toEqual(['open', 30])
  })

  test('a unit with a refusal leaves nothing, and its neighbours in the batch are kept', async () => {
    const db = await database()
    const refused = db.unit()
    refused.add(put('lost'))
    refused.add(refuse({ held: true }))
    const results = await Promise.allSettled([db.write(put('a')), refused.commit(), db.write(put('b'))])
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(results[1]).toMatchObject({ reason: { code: 'refused', reason: { held: true } } })
    expect(keys(db)).toEqual(['a', 'b'])
  })

  test('what procedures remember is forgotten with what a refusal takes back', async () => {
    const db = await database()
    const count = named('count')
    const refused = db.unit()
    refused.add(count)
    refused.add(refuse('no'))
    const settled = await Promise.allSettled([db.write(count), refused.commit(), db.write(count)])
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(await db.write(count)).toBe(3)
    expect(keys(db)).toEqual(['1', '2', '3'])
  })

  test('what procedures remember is forgotten with what does not fit on the disk, and when a migration changes it', async () => {
    const db = await database({}, { maxPages: 30 })
    expect(await db.write(named('count'))).toBe(1)
    const large = db.unit()
    large.add(named('count'))
    large.add(put('large', 'x'.repeat(200_000)))
    expect(await code(large.commit())).toBe('storage_full')
    expect(await db.write(named('count'))).toBe(2)
    await db.migrate('test', [...schema, 'DELETE FROM item'])
    expect(await db.write(named('count'))).toBe(1)
  })

  test('a unit commits once, and takes nothing afterwards', async () => {
    const db = await database()
    const unit = db.unit()
    unit.add(put('a'))
    await unit.commit()
    expect(await code(unit.commit())).toBe('invalid_option')
    expect(() => unit.add(put('b'))).toThrow('committed')
    expect(keys(db)).toEqual(['a'])
  })

  test('a write may name its owner, and a result that nobody takes is not carried between the threads', async () => {
    const db = await database()
    const unit = db.unit()
    unit.add({ ...put('a'), procedure: `${module}#owner.put` })
    unit.add(named('unclonable'), () => {})
    expect(await unit.commit()).toBe('fsync')
    expect(keys(db)).toEqual(['a'])
  })

  test('a result or reason that no other thread can have is said to be one, and its neighbours have theirs', async () => {
    const db = await database()
    const codes = await Promise.all(
      [put('a'), { procedure: `${module}#putUnclonable`, args: 'b' }, named('refuseUnclonable'), put('c')].map(
        (write) => code(db.write(write)),
      ),
    )
    expect(codes).toEqual(['no error', 'unknown', 'refused', 'no error'])
    expect([keys(db), db.health.state]).toEqual([['a', 'b', 'c'], 'open'])
  })

  test("a constraint failure, of a foreign key as well, is its own unit's", async () => {
    const db = await database()
    await db.write(put('a'))
    await db.migrate('other', ['CREATE TABLE child (parent TEXT REFERENCES item (key))'])
    const child = (parent: string) => code(db.write(run('INSERT INTO child VALUES (?)', parent)))
    expect([await child('a'), await child('absent')]).toEqual(['no error', 'constraint'])
    const [twice, other] = await Promise.all([code(db.write(put('a'))), code(db.write(put('b')))])
    expect([twice, other]).toEqual(['constraint', 'no error'])
  })

  test('a procedure that throws, or that does not exist, is refused as procedure_failed', async () => {
    const db = await database()
    expect(await code(db.write({ procedure: `${module}#crash`, args: null }))).toBe('procedure_failed')
    expect(await code(db.write({ procedure: `${module}#absent`, args: null }))).toBe('procedure_failed')
    await expect(db.write({ procedure: 'file:///nowhere.js#x', args: null })).rejects.toMatchObject({
      code: 'procedure_failed',
      message: expect.stringContaining('file:///nowhere.js#x cannot be loaded'),
    })
    await expect(db.write(named('absent'))).rejects.toThrow(`${module}#absent has no such procedure`)
    expect(await code(db.write(put('a')))).toBe('no error')
  })

  test('a statement that ends the transaction fails its own unit, and its neighbours are kept once', async () => {
    const db = await database()
    await db.write(put('a'))
    const codes = await Promise.all(
      [
        put('b'),
        run("INSERT OR ROLLBACK INTO item VALUES ('a', 'again')"),
        put('c'),
        run('COMMIT'),
        run(`${'-'.repeat(1_000)}\n/* mine */ rollback`),
        run(`${'-'.repeat(1_000)}\n/* ${'*'.repeat(1_000)} */ DELETE FROM item WHERE key = 'absent'`),
        { procedure: `${module}#endAndGoOn`, args: 'e' },
        put('d'),
      ].map((write) => code(db.write(write))),
    )
    const [kept, failed] = ['no error', 'procedure_failed']
    expect(codes).toEqual([kept, 'constraint', kept, failed, failed, kept, failed, kept])
    expect([keys(db), db.health.state]).toEqual([['a', 'b', 'c', 'd'], 'open'])
  })

  test('a commit says what it has reached, which is never more than a synced disk', async () => {
    const db = await database()
    for (const [asked, reached] of [
      [undefined, 'fsync'],
      ['memory', 'memory'],
      ['os', 'os'],
      ['replicated', 'fsync'],
    ] as const) {
      const unit = db.unit(asked === undefined ? {} : { durability: asked })
      unit.add(put(`${asked}`))
      expect(await unit.commit()).toBe(reached)
    }
    expect(() => db.unit({ durability: 'safe' as never })).toThrow(expect.objectContaining({ code: 'invalid_option' }))
  })

  test('a unit whose arguments cannot cross to the writer thread is refused, and its neighbours are kept', async () => {
    const db = await database()
    const codes = await Promise.all([
      code(db.write(put('a'))),
      code(db.write({ procedure: `${module}#put`, args: { key: 'b', value: () => 'v' } })),
      code(db.write(put('c'))),
    ])
    expect(codes).toEqual(['no error', 'procedure_failed', 'no error'])
    expect([keys(db), db.health.pendingWrites]).toEqual([['a', 'c'], 0])
  })

  test('every write gets its own answer, also when messages came while a module was loaded', async () => {
    const db = await database()
    const folder = folderFor('late')
    const late = new URL(`./late-procedures.ts?folder=${folder}`, import.meta.url).href
    const echo = (value: number) => db.write({ procedure: `${late}#echo`, args: value })
    // Each 32 are a message.
    const answers = Array.from({ length: 64 }, (_, i) => echo(i))
    writeFileSync(join(folder, 'sent'), '')
    await expect.poll(() => existsSync(join(folder, 'received'))).toBe(true)
    answers.push(...Array.from({ length: 32 }, (_, i) => echo(64 + i)))
    writeFileSync(join(folder, 'go'), '')
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 96 }, (_, i) => i))
  })

  test('an error of an onCommitted listener is its own caller’s, and stops nobody else', async () => {
    const db = await database()
    const unit = db.unit()
    unit.add(put('a'), (changes) => {
      throw Object.assign(new Error(), { code: `mine ${changes}` })
    })
    expect(await Promise.all([code(unit.commit()), code(db.write(put('b')))])).toEqual(['mine 1', 'no error'])
    expect(keys(db)).toEqual(['a', 'b'])
  })

  test('onCommitted gets the result before commit resolves', async () => {
    const db = await database()
    const order: unknown[] = []
    const unit = db.unit()
    unit.add(put('a'), (changes) => order.push(changes))
    await unit.commit().then((level) => order.push(level))
    expect(order).toEqual([1, 'fsync'])
  })

  test('any interleaving of units leaves what the accepted ones would leave one after the other', async () => {
    const db = await database()
    let round = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ names: fc.array(fc.nat(5), { minLength: 1, maxLength: 4 }), refused: fc.boolean() })),
        async (units) => {
          const prefix = `r${round++}-`
          const model = new Set<string>()
          const expected = units.map(({ names, refused }) => {
            const accepted =
              !refused && new Set(names).size === names.length && names.every((name) => !model.has(`${prefix}${name}`))
            if (accepted) for (const name of names) model.add(`${prefix}${name}`)
            return accepted
          })
          const results = await Promise.allSettled(
            units.map(({ names, refused }) => {
              const unit = db.unit()
              for (const name of names) unit.add(put(`${prefix}${name}`))
              if (refused) unit.add(refuse(undefined))
              return unit.commit()
            }),
          )
          expect(results.map(({ status }) => status === 'fulfilled')).toEqual(expected)
          expect(new Set(keys(db).filter((key) => key.startsWith(prefix)))).toEqual(model)
        },
      ),
      { numRuns: 50 },
    )
  })
})

describe('durability', () => {
  test('a commit is synced when any of its units wants that, and only then', async () => {
    const db = await database()
    const level = (durability: 'os' | 'fsync') => db.write<number>(named('synchronous'), { durability })
    expect([await level('fsync'), await level('os'), await level('fsync')]).toEqual([2, 1, 2])
    expect(await Promise.all([level('os'), level('fsync'), level('os')])).toEqual([2, 2, 2])
    // Messages that wait behind each other share a commit, too.
    const gate = new Int32Array(new SharedArrayBuffer(4))
    const held = db.write({ procedure: `${module}#putAfter`, args: { key: 'a', gate } }, { durability: 'os' })
    while (Atomics.load(gate, 0) === 0) await new Promise((resolve) => setImmediate(resolve))
    const message = (durability: 'os' | 'fsync') => Array.from({ length: 32 }, () => level(durability))
    const behind = [...message('fsync'), ...message('os')]
    Atomics.store(gate, 0, 2)
    Atomics.notify(gate, 0)
    await held
    expect(await Promise.all(behind)).toEqual(Array(64).fill(2))
  })

  test('what is deleted is in no file any more', async () => {
    const db = await database()
    await db.write(put('a', 'the secret'))
    await db.write(run('DELETE FROM item'))
    await db.close()
    expect(readFileSync(db.file).includes('the secret')).toBe(false)
  })

  test('at every level a write has its result, and a refusal is heard', async () => {
    for (const durability of ['memory', 'os', 'fsync'] as const) {
      const db = await database({ durability })
      expect(await db.write(put('a'))).toBe(1)
      expect([await code(db.write(refuse('no'))), await code(db.write(put('a')))]).toEqual(['refused', 'constraint'])
    }
  })

  test('every acknowledged write survives kill -9, in ten rounds', async () => {
    const dir = directory()
    const acknowledged = new Set<string>()
    for (let round = 0; round < 10; round++) {
      const child = spawn(process.execPath, [
        fileURLToPath(new URL('./writing-child.ts', import.meta.url)),
        dir,
        String(round),
      ])
      const until = 20 + round * 37
      let seen = 0
      for await (const line of createInterface({ input: child.stdout })) {
        acknowledged.add(line)
        if (++seen === until) child.kill('SIGKILL')
      }
      expect(
        child.signalCode ?? (await new Promise((resolve) => child.on('exit', (_, signal) => resolve(signal)))),
      ).toBe('SIGKILL')
    }
    const db = await openDatabase({ directory: dir })
    open.push(db)
    const present = new Set(keys(db))
    expect(acknowledged.size).toBeGreaterThan(1_000)
    expect([...acknowledged].filter((key) => !present.has(key))).toEqual([])
    expect(
      db.reader.get(
        'SELECT 1 FROM item WHERE key LIKE ? AND (SELECT count(*) FROM item o WHERE o.value = item.value) <> 2',
        '%',
      ),
    ).toBeUndefined()
  })
})

describe('faults', () => {
  test('a failed sync is final: what is pending and what comes later rejects, and health says why', async () => {
    const db = await database({ maxPending: 1 }, { failCommit: 3 })
    const heard = new Promise((resolve) => db.onFailed(resolve))
    await db.write(put('a'))
    const codes = await Promise.all([code(db.write(put('b'))), code(db.write(put('c')))])
    expect(codes).toEqual(['storage_failed', 'storage_failed'])
    expect(await heard).toMatchObject({ code: 'storage_failed' })
    expect(await code(db.write(put('d')))).toBe('storage_failed')
    expect(db.health).toMatchObject({ state: 'failed', reason: 'disk I/O error' })
    expect(await code(db.migrate('x', []))).toBe('storage_failed')
    expect(await code(db.backup(join(db.directory, 'copy')))).toBe('storage_failed')
    await new Promise((resolve) => db.onFailed(resolve))
    const files = () => [db.file, `${db.file}-wal`].map((name) => readFileSync(name))
    const left = files()
    await db.close()
    // Nothing is moved, synced or cut after it.
    expect(files()).toEqual(left)
    const again = await openDatabase({ directory: db.directory })
    open.push(again)
    expect(keys(again)).toContain('a')
    // The log that was left is in the file, which is served without it.
    expect(statSync(`${db.file}-wal`).size).toBe(0)
  })

  test('a damaged file is not opened, and the directory is free for what takes its place', async () => {
    const db = await database()
    for (let i = 0; i < 20; i++) await db.write(put(`k${i}`, 'x'.repeat(1_000)))
    await db.close()
    const whole = readFileSync(db.file)
    const damaged = Buffer.from(whole)
    damaged.fill(0, 2 * 4_096, 3 * 4_096)
    writeFileSync(db.file, damaged)
    await expect(openDatabase({ directory: db.directory })).rejects.toMatchObject({
      code: 'storage_failed',
      message: expect.stringContaining('damaged'),
    })
    writeFileSync(db.file, whole)
    const again = await openDatabase({ directory: db.directory })
    open.push(again)
    expect(keys(again)).toHaveLength(20)
  })

  test('the end of the writer thread, however it comes, is a failure', async () => {
    for (const end of ['exit', 'crashLater']) {
      const db = await database()
      const heard = new Promise((resolve) => db.onFailed(resolve))
      const ended = code(db.write(named(end)))
      expect(await heard).toMatchObject({
        code: 'storage_failed',
        message: `The writer thread has ${end === 'exit' ? 'ended' : 'died'}`,
      })
      expect(['storage_failed', end === 'exit' ? '' : 'no error']).toContain(await ended)
      expect([await code(db.write(put('a'))), db.health.state]).toEqual(['storage_failed', 'failed'])
    }
  })

  test('a failed sync is the last thing that the writer does: what it was sent before it knew is not done either', async () => {
    const db = await database({}, { failCommit: 3 })
    await db.write(put('a'))
    const [first, second] = [new Int32Array(new SharedArrayBuffer(4)), new Int32Array(new SharedArrayBuffer(4))]
    const putAfter = (key: string, gate: Int32Array) =>
      code(db.write({ procedure: `${module}#putAfter`, args: { key, gate } }))
    const failing = putAfter('b', first)
    while (Atomics.load(first, 0) === 0) await new Promise((resolve) => setImmediate(resolve))
    // The writer is at the gate with the first message: this is the next one.
    const behind = putAfter('c', second)
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
    const migrating = code(db.migrate('other', []))
    const closing = db.close()
    Atomics.store(first, 0, 2)
    Atomics.notify(first, 0)
    expect([await failing, await behind, await migrating]).toEqual(Array(3).fill('storage_failed'))
    const until = performance.now() + 300
    while (Atomics.load(second, 0) === 0 && performance.now() < until)
      await new Promise((resolve) => setImmediate(resolve))
    expect(Atomics.load(second, 0)).toBe(0)
    await closing
    const again = await openDatabase({ directory: db.directory })
    open.push(again)
    expect(keys(again)).toEqual(['a'])
  })

  test('N2: a disk that does not answer ends no wait later than the deadline, truly told, and all goes on when it answers', async () => {
    const db = await database({ deadlineMs: 400 })
    const gate = new Int32Array(new SharedArrayBuffer(4))
    const started = performance.now()
    const first = code(db.write({ procedure: `${module}#putAfter`, args: { key: 'a', gate } }))
    while (Atomics.load(gate, 0) === 0) await new Promise((resolve) => setImmediate(resolve))
    // The writer hangs with the first message; a second one is on its way to it, and the rest is not.
    const second = code(db.write(put('b')))
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
    const third = code(db.write(put('c')))
    expect(db.health.state).toBe('open')
    expect(await Promise.all([first, second, third])).toEqual(['unknown', 'unknown', 'unavailable'])
    expect(performance.now() - started).toBeGreaterThan(350)
    expect(db.health).toMatchObject({ state: 'unavailable', pendingWrites: 2 })
    expect(keys(db)).toEqual([])
    expect(await code(db.write(put('d')))).toBe('unavailable')
    Atomics.store(gate, 0, 2)
    Atomics.notify(gate, 0)
    await expect.poll(() => db.health.state).toBe('open')
    expect(await code(db.write(put('e')))).toBe('no error')
    expect(keys(db)).toEqual(['a', 'b', 'e'])
    expect(db.health.pendingWrites).toBe(0)
  })

  test('a full disk refuses what does not fit with storage_full, keeps the rest, and works on once there is room', async () => {
    const db = await database({}, { maxPages: 30 })
    const large = 'x'.repeat(200_000)
    const [small, tooLarge] = await Promise.all([code(db.write(put('small'))), code(db.write(put('large', large)))])
    expect([small, tooLarge]).toEqual(['no error', 'storage_full'])
    expect(db.health.state).toBe('open')
    expect(await code(db.write(put('after')))).toBe('no error')
    expect(keys(db)).toEqual(['small', 'after'])
    await db.close()
    const roomy = await openDatabase({ directory: db.directory })
    open.push(roomy)
    expect(await code(roomy.write(put('large', large)))).toBe('no error')
  })

  test('a migration that does not fit on the disk gets storage_full, changes nothing, and the database goes on', async () => {
    const db = await database({}, { maxPages: 8 })
    const tables = Array.from({ length: 10 }, (_, i) => `CREATE TABLE t${i} (x)`)
    expect(await code(db.migrate('large', tables))).toBe('storage_full')
    expect(db.reader.get('SELECT 1 FROM sqlite_master WHERE name = ?', 't0')).toBeUndefined()
    expect([db.health.state, await code(db.write(put('a')))]).toEqual(['open', 'no error'])
  })

  test('a full queue refuses, or waits, as asked; nothing is dropped', async () => {
    const refusing = await database({ maxPending: 10, onFull: 'refuse' })
    const codes = await Promise.all(Array.from({ length: 50 }, (_, i) => code(refusing.write(put(`k${i}`)))))
    expect(codes.filter((each) => each === 'write_queue_full')).toHaveLength(40)
    expect(keys(refusing)).toHaveLength(10)
    const waiting = await database({ maxPending: 10 })
    await Promise.all(Array.from({ length: 50 }, (_, i) => waiting.write(put(`k${i}`))))
    expect(keys(waiting)).toEqual(Array.from({ length: 50 }, (_, i) => `k${i}`))
    // All that there is room for comes in at once.
    expect(waiting.health.commits).toBeLessThan(20)
  })
})

describe('the data directory', () => {
  test('a second opener in this process gets data_dir_locked, and opens the way for no other process', async () => {
    const db = await database()
    expect(await code(openDatabase({ directory: db.directory }))).toBe('data_dir_locked')
    const child = spawn(process.execPath, [
      fileURLToPath(new URL('./writing-child.ts', import.meta.url)),
      db.directory,
      '0',
    ])
    child.stdout.once('data', () => child.kill())
    let said = ''
    for await (const text of child.stderr) said += text
    expect(said).toContain(`in use by process ${process.pid}`)
  })

  test("another process gets data_dir_locked with the holder's number, and the lock of a killed one is free", async () => {
    const dir = directory()
    const child = spawn(process.execPath, [fileURLToPath(new URL('./writing-child.ts', import.meta.url)), dir, '0'])
    await new Promise((resolve) => child.stdout.once('data', resolve))
    await expect(openDatabase({ directory: dir })).rejects.toMatchObject({
      code: 'data_dir_locked',
      message: expect.stringContaining(`process ${child.pid}`),
    })
    child.kill('SIGKILL')
    await new Promise((resolve) => child.once('exit', resolve))
    const db = await openDatabase({ directory: dir })
    await db.close()
  })

  test('a lock that cannot be taken for another reason says which, and one that failed half-way is free again', async () => {
    const dir = directory()
    mkdirSync(join(dir, 'lock-holder'), { recursive: true, mode: 0o700 })
    expect(await code(openDatabase({ directory: dir }))).toBe('EISDIR')
    rmSync(join(dir, 'lock-holder'), { recursive: true })
    const db = await openDatabase({ directory: dir })
    await db.close()
    writeFileSync(join(dir, 'lock'), 'not a database'.repeat(100))
    await expect(openDatabase({ directory: dir })).rejects.toMatchObject({
      code: 'storage_failed',
      message: `${join(dir, 'lock')} cannot be locked: file is not a database`,
    })
  })

  test('the directory is 0700 and every file in it 0600', async () => {
    const db = await database()
    await db.write(put('a'))
    expect(statSync(db.directory).mode & 0o777).toBe(0o700)
    for (const name of ['gateway.db', 'gateway.db-wal', 'gateway.db-shm', 'lock', 'lock-holder']) {
      expect([name, statSync(join(db.directory, name)).mode & 0o777]).toEqual([name, 0o600])
    }
  })

  test('a symbolic link, a file and a directory that others may write are refused with data_dir_unsafe', async () => {
    const dir = directory()
    mkdirSync(dir, { mode: 0o700 })
    symlinkSync(dir, `${dir}-link`)
    expect(await code(openDatabase({ directory: `${dir}-link` }))).toBe('data_dir_unsafe')
    for (const mode of [0o770, 0o702]) {
      chmodSync(dir, mode)
      await expect(openDatabase({ directory: dir })).rejects.toMatchObject({
        code: 'data_dir_unsafe',
        message: expect.stringContaining('chmod 700'),
      })
    }
    writeFileSync(`${dir}-file`, '')
    expect(await code(openDatabase({ directory: `${dir}-file` }))).toBe('data_dir_unsafe')
  })
})

describe('schema, backup and closing', () => {
  test('migrations run once each, concurrently too, and a newer file is refused', async () => {
    const db = await database()
    const two = [...schema, 'ALTER TABLE item ADD COLUMN extra TEXT']
    await Promise.all([db.migrate('test', two), db.migrate('test', two)])
    expect(await code(db.migrate('test', schema))).toBe('schema_too_new')
  })

  test('a migration comes after writes that were not synced, as well', async () => {
    const db = await database({ durability: 'os' })
    await db.write(put('a'))
    await db.migrate('other', ['CREATE TABLE other (x)'])
    expect(db.reader.all('SELECT * FROM other')).toEqual([])
  })

  test('a migration that fails changes nothing', async () => {
    const db = await database()
    expect(await code(db.migrate('other', ['CREATE TABLE half (x)', 'not sql']))).toBe('procedure_failed')
    expect(db.reader.get('SELECT 1 FROM sqlite_master WHERE name = ?', 'half')).toBeUndefined()
    expect(db.health.state).toBe('open')
  })

  test('writes do not wait for a backup, and it holds what was acknowledged before it', async () => {
    const db = await database()
    for (let i = 0; i < 30; i++) await db.write(put(`k${i}`, 'x'.repeat(4 * 1024 * 1024)))
    const file = join(folderFor('backup'), 'gateway.db')
    let over = false
    const made = db.backup(file).then(() => {
      over = true
    })
    await db.write(put('during'))
    expect(over).toBe(false)
    // Nobody else may read it while it is made, either.
    while (!existsSync(`${file}.partial`)) await new Promise((resolve) => setImmediate(resolve))
    expect(statSync(`${file}.partial`).mode & 0o777).toBe(0o600)
    await made
    const copy = new DatabaseSync(file, { readOnly: true })
    expect(copy.prepare("SELECT count(*) AS n FROM item WHERE key <> 'during'").get()).toEqual({ n: 30 })
    copy.close()
  })

  test('a backup that fails leaves nothing, and what is left of one that was killed is in nobody’s way', async () => {
    const db = await database()
    for (let i = 0; i < 10; i++) await db.write(put(`k${i}`, 'x'.repeat(4 * 1024 * 1024)))
    const folder = folderFor('backup')
    const file = join(folder, 'gateway.db')
    const failing = code(db.backup(file))
    while (!existsSync(`${file}.partial`)) await new Promise((resolve) => setImmediate(resolve))
    mkdirSync(file)
    expect(await failing).toBe('EISDIR')
    expect(readdirSync(folder)).toEqual(['gateway.db'])
    rmdirSync(file)
    writeFileSync(`${file}.partial`, 'half a copy')
    await db.backup(file)
    expect(readdirSync(folder)).toEqual(['gateway.db'])
    expect(await code(db.backup(join(folder, 'absent', 'gateway.db')))).toBe('procedure_failed')
  })

  test('a backup taken while writes go on opens and holds a prefix of them', async () => {
    const db = await database()
    const writing = Promise.all(Array.from({ length: 300 }, (_, i) => db.write(put(`k${String(i).padStart(4, '0')}`))))
    const target = folderFor('backup')
    await db.backup(join(target, 'gateway.db'))
    await writing
    expect(statSync(join(target, 'gateway.db')).mode & 0o777).toBe(0o600)
    expect(await code(db.backup(join(target, 'gateway.db')))).toBe('invalid_option')
    const twice = [db.backup(join(target, 'twice.db')), db.backup(join(target, 'twice.db'))]
    expect(await Promise.all(twice.map(code))).toEqual(['no error', 'invalid_option'])
    expect(existsSync(join(target, 'gateway.db.partial'))).toBe(false)
    chmodSync(target, 0o700)
    const copy = await openDatabase({ directory: target })
    open.push(copy)
    const all = keys(db)
    expect(keys(copy)).toEqual(all.slice(0, keys(copy).length))
  })

  test('close commits what is pending, then refuses', async () => {
    const db = await database()
    const pending = db.write(put('last'))
    const failures: unknown[] = []
    db.onFailed((cause) => failures.push(cause))
    await Promise.all([db.close(), db.close()])
    expect(failures).toEqual([])
    await pending
    expect(await code(db.write(put('late')))).toBe('closed')
    expect(await code(db.backup(join(db.directory, 'copy')))).toBe('closed')
    expect(() => db.reader.get('SELECT 1')).toThrow('has been closed')
    expect(db.health.state).toBe('closed')
    const again = await openDatabase({ directory: db.directory })
    open.push(again)
    expect(keys(again)).toEqual(['last'])
  })

  test('close refuses writes at once, also while it waits for a backup, which is whole', async () => {
    const db = await database()
    for (let i = 0; i < 10; i++) await db.write(put(`k${i}`, 'x'.repeat(4 * 1024 * 1024)))
    const file = join(folderFor('backup'), 'gateway.db')
    const made = db.backup(file)
    const closed = db.close()
    expect(await code(db.write(put('late')))).toBe('closed')
    await Promise.all([made, closed])
    expect(existsSync(join(db.directory, 'gateway.db-wal'))).toBe(false)
    const copy = new DatabaseSync(file, { readOnly: true })
    expect(copy.prepare('SELECT count(*) AS n FROM item').get()).toEqual({ n: 10 })
    copy.close()
  })

  test('a bad option is named with what was expected', async () => {
    await expect(openDatabase({ directory: directory(), maxPending: 0 })).rejects.toThrow(
      'Expected `maxPending` to be a whole number above 0, got `0`',
    )
    await expect(openDatabase({ directory: directory(), onFull: 'drop' as never })).rejects.toThrow('`onFull`')
    for (const deadlineMs of [0, Number.NaN, 2 ** 31, Number.POSITIVE_INFINITY]) {
      await expect(openDatabase({ directory: directory(), deadlineMs })).rejects.toThrow('`deadlineMs`')
    }
    await expect(openDatabase({ directory: directory(), path: 'x' } as never)).rejects.toThrow('`path`')
  })
})
