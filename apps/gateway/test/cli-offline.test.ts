import { createHash } from 'node:crypto'
import {
  chmodSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { crc32, gunzipSync, gzipSync } from 'node:zlib'
import { signCheckpoint } from '@gw/events/proofs'
import { expect, test, vi } from 'vitest'
import { createGateway, type Gateway, type GatewayOptions } from '../src/index.ts'
import { freshFolder, gw, shapeOf } from './cli-process.ts'

// Many processes, one after the other, on a machine that has much else to do.
vi.setConfig({ testTimeout: 180_000 })

interface Written {
  readonly dataDir: string
  /** A checkpoint of the log as it is, in a file, and the key that signed it. */
  readonly note: string
  readonly verifier: string
  readonly runs: readonly string[]
}

/** A data directory with three durable requests and their events, whose gateway has stopped. */
async function written(
  options: GatewayOptions = {},
  more: (gateway: Gateway) => Promise<void> = async () => {},
): Promise<Written> {
  const folder = freshFolder()
  const dataDir = join(folder, 'data')
  const gateway = await createGateway({ dataDir, ...options })
  gateway.post('/order', gateway.durable({ operation: 'order' }), async (c) =>
    c.json({ packed: await c.var.run.step('pack', async () => 'packed') }, 201),
  )
  await gateway.start()
  const runs: string[] = []
  for (const key of ['a', 'b', 'c']) {
    const answer = await gateway.request('/order', { method: 'POST', headers: { 'idempotency-key': key } })
    runs.push(answer.headers.get('gw-run')!)
  }
  const signer = await gateway.keeping.signer()
  const note = join(folder, 'note.txt')
  writeFileSync(note, await signCheckpoint(gateway.events, signer))
  await more(gateway)
  await gateway.close()
  return { dataDir, note, verifier: signer.verifier, runs }
}

/** Everything in a folder, to see that nothing was touched. */
function stateOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const stat = statSync(join(folder, name))
      const content = stat.isFile()
        ? createHash('sha256')
            .update(readFileSync(join(folder, name)))
            .digest('hex')
        : ''
      return `${name} ${stat.mode} ${stat.mtimeMs} ${content}`
    })
}

type Row = (string | number | null)[]

/** A row of a bundle with its hash and checksum made anew, as a forger with the code would. */
function forged(row: Row, before: Buffer): { readonly row: Row; readonly hash: Buffer } {
  const fields = row
    .slice(0, 16)
    .map((field) => (field === null ? '-;' : `${Buffer.byteLength(String(field))}:${field};`))
  const frame = Buffer.from(`gw1;${fields.join('')}`)
  const hash = createHash('sha256').update(Buffer.of(0)).update(before).update(frame).digest()
  return { row: [...row.slice(0, 16), hash.toString('hex'), crc32(hash, crc32(frame))], hash }
}

/** The same row with another hash's checksum only: edited by somebody who knows of checksums and not of the chain. */
function edited(row: Row, data: string): Row {
  const changed = [...row.slice(0, 15), data, ...row.slice(16)]
  const fields = changed
    .slice(0, 16)
    .map((field) => (field === null ? '-;' : `${Buffer.byteLength(String(field))}:${field};`))
  return [
    ...changed.slice(0, 17),
    crc32(Buffer.from(String(row[16]), 'hex'), crc32(Buffer.from(`gw1;${fields.join('')}`))),
  ]
}

test('G12: verification without a gateway names each kind of damage of a bundle', async () => {
  const { dataDir, note, verifier } = await written()
  const folder = freshFolder()
  const bundle = join(folder, 'events.ndjson')
  const before = stateOf(dataDir)
  expect(await gw(['events', 'export', dataDir, '-o', bundle])).toEqual({ code: 0, out: '', err: '' })
  expect(stateOf(dataDir)).toEqual(before)
  const [header = '', ...lines] = readFileSync(bundle, 'utf8').trimEnd().split('\n')
  const rows = lines.map((line) => JSON.parse(line) as Row)
  const kinds = async (text: string, ...flags: readonly string[]) => {
    const file = join(freshFolder(), 'bundle')
    writeFileSync(file, text)
    const { code, out } = await gw(['events', 'verify', file, '--json', ...flags])
    const { problems } = JSON.parse(out) as { readonly problems: readonly { readonly kind: string }[] }
    expect(code).toBe(problems.length === 0 ? 0 : 1)
    return problems.map(({ kind }) => kind)
  }
  const textOf = (some: readonly Row[]) => `${[header, ...some.map((row) => JSON.stringify(row))].join('\n')}\n`
  const vouched = ['--note', note, '--verifier', verifier]
  expect(rows.length).toBeGreaterThan(5)
  expect(await kinds(textOf(rows), ...vouched)).toEqual([])
  expect(await kinds(textOf(rows).slice(0, -30))).toEqual(['torn_tail'])
  expect(await kinds(textOf(rows.with(2, rows[2]!.with(15, '{}'))))).toEqual(['bit_rot'])
  expect(await kinds(textOf(rows.with(2, edited(rows[2]!, '{}'))))).toEqual(['edit'])
  expect(await kinds(textOf(rows.toSpliced(2, 1)))).toEqual(['deletion'])
  expect(await kinds(textOf(rows.with(2, rows[3]!).with(3, rows[2]!)))).toContain('reorder')
  expect(await kinds(textOf(rows.slice(2)))).toEqual(['retention_cut'])
  expect(await kinds(textOf(rows.slice(0, -1)))).toEqual([])
  expect(await kinds(textOf(rows.slice(0, -1)), ...vouched)).toEqual(['truncation'])
  let last: Buffer = Buffer.alloc(32)
  const another = rows.map((row, i) => {
    const made = forged(i === 2 ? row.with(15, '{}') : row, last)
    last = made.hash
    return made.row
  })
  expect(await kinds(textOf(another))).toEqual([])
  expect(await kinds(textOf(another), ...vouched)).toEqual(['fork'])
})

test('G12: verification of a data directory names damage as a table, with 1, and touches nothing', async () => {
  const { dataDir, note, verifier } = await written()
  const whole = await gw(['events', 'verify', dataDir, '--note', note, '--verifier', verifier])
  expect([whole.code, whole.out]).toEqual([0, expect.stringContaining('Nothing is missing at its end')])
  const db = new DatabaseSync(join(dataDir, 'gateway.db'))
  db.exec("UPDATE gw_event SET data = '{}' WHERE position = 3; DELETE FROM gw_event WHERE position = 5")
  db.close()
  const before = stateOf(dataDir)
  const damaged = await gw(['events', 'verify', dataDir])
  expect([damaged.code, shapeOf(damaged.out).slice(-3)]).toEqual([
    1,
    ['damage  at  what', expect.stringMatching(/^bit_rot {2}3 {2}/), expect.stringMatching(/^deletion {2}5 {2}/)],
  ])
  const inspected = await gw(['inspect', dataDir])
  expect([inspected.code, inspected.out]).toEqual([1, expect.stringContaining('events: bit_rot at 3')])
  expect(await gw(['doctor', '--deep', '--data-dir', dataDir])).toMatchObject({
    code: 1,
    out: expect.stringMatching(/✗ audit trail/),
  })
  expect(await gw(['backup', freshFolder(), '--data-dir', dataDir])).toMatchObject({
    code: 1,
    err: expect.stringContaining('is damaged (bit_rot at event 3'),
  })
  expect(stateOf(dataDir)).toEqual(before)
})

test('G12: a proof is made without a gateway against a checkpoint, and checked with a public key alone', async () => {
  const { dataDir, note, verifier } = await written()
  const folder = freshFolder()
  const [proof, bundle] = [join(folder, 'proof.json'), join(folder, 'events.ndjson')]
  expect((await gw(['events', 'prove', '2', dataDir, '--note', note, '--verifier', verifier, '-o', proof])).code).toBe(
    0,
  )
  expect(await gw(['events', 'check', proof, '--verifier', verifier])).toMatchObject({
    code: 0,
    out: expect.stringContaining('It holds'),
  })
  await gw(['events', 'export', dataDir, '-o', bundle])
  const again = await gw(['events', 'prove', '2', bundle, '--note', note, '--verifier', verifier])
  expect(JSON.parse(again.out)).toEqual(JSON.parse(readFileSync(proof, 'utf8')))
  writeFileSync(proof, readFileSync(proof, 'utf8').replace('"index": "1"', '"index": "2"'))
  expect(await gw(['events', 'check', proof, '--verifier', verifier])).toMatchObject({ code: 1, out: '' })
})

test('G12: an archive folder is verified and proved from without its store; what is missing or rotten is named', async () => {
  const archive = freshFolder()
  const { dataDir, verifier } = await written({ audit: { archive, maxSegmentBytes: 400, maxEvents: 0 } }, (gateway) =>
    gateway.keeping.round(gateway.events),
  )
  const whole = await gw(['events', 'verify', archive, '--json'])
  expect([whole.code, JSON.parse(whole.out).events]).toEqual([0, expect.any(Number)])
  expect(await gw(['inspect', archive])).toMatchObject({ code: 0, out: expect.stringContaining('No damage') })
  const across = await gw(['events', 'verify', dataDir, '--archive', archive, '--json'])
  expect([across.code, JSON.parse(across.out).retentionCut]).toEqual([0, '0'])
  const exported = await gw(['events', 'export', archive, '--format', 'ndjson'])
  expect(exported.out.trimEnd().split('\n')).toHaveLength(JSON.parse(whole.out).events)
  const segments = globSync(join(archive, 'segments/*/*.ndjson.gz')).sort()
  expect(segments.length).toBeGreaterThan(1)
  const kindsOf = async () => {
    const { out } = await gw(['events', 'verify', archive, '--json', '--verifier', verifier])
    return JSON.parse(out).problems.map(({ kind }: { readonly kind: string }) => kind)
  }
  const bytes = readFileSync(segments[0]!)
  rmSync(segments[0]!)
  writeFileSync(segments[0]!, gzipSync(gunzipSync(bytes), { level: 0 }))
  expect(await kindsOf()).toEqual(['bit_rot'])
  writeFileSync(segments[0]!, bytes.subarray(0, 20))
  expect(await kindsOf()).toContain('bit_rot')
  rmSync(segments[0]!)
  expect(await kindsOf()).toContain('deletion')
  expect((await gw(['inspect', archive])).code).toBe(1)
})

test('G12: backup, delete, restore brings all back, and nothing is ever written over', async () => {
  const { dataDir, runs, note, verifier } = await written()
  const [backups, cwd] = [freshFolder(), freshFolder()]
  const made = await gw(['backup', backups, '--data-dir', dataDir, '--json'])
  const { id, events } = JSON.parse(made.out)
  expect([made.code, made.err]).toEqual([0, ''])
  for (const file of globSync(join(backups, '**/*.*'))) expect(statSync(file).mode & 0o777).toBe(0o600)
  rmSync(dataDir, { recursive: true })
  expect((await gw(['restore', backups, '--list'], { cwd })).out).toContain(id)
  const restored = await gw(['restore', backups, '--data-dir', dataDir], { cwd })
  expect([restored.code, shapeOf(restored.out)[0]]).toEqual([0, 'Restored and verified'])
  expect(readdirSync(dataDir)).toEqual(['gateway.db'])
  expect(statSync(join(dataDir, 'gateway.db')).mode & 0o777).toBe(0o600)
  expect((await gw(['events', 'verify', dataDir, '--note', note, '--verifier', verifier])).code).toBe(0)
  const gateway = await createGateway({ dataDir })
  await gateway.start()
  for (const run of runs) expect(await (await gateway.checkpoints.response(run))!.json()).toEqual({ packed: 'packed' })
  expect((await gateway.events.store.head()).position >= BigInt(events.position)).toBe(true)

  const live = await gw(['backup', backups, '--data-dir', dataDir])
  expect([live.code, live.out]).toEqual([0, expect.stringContaining('Backed up and verified')])
  expect(await gw(['restore', backups, '--data-dir', dataDir])).toMatchObject({
    code: 1,
    err: expect.stringContaining('is in use by process'),
  })
  await gateway.close()
  expect(await gw(['restore', backups, '--data-dir', dataDir])).toMatchObject({
    code: 1,
    err: expect.stringContaining('never written over'),
  })

  const [part] = globSync(join(backups, `snapshots/${id}/*.gz`))
  const bytes = readFileSync(part!)
  writeFileSync(part!, Buffer.concat([bytes.subarray(0, -1), Buffer.of(bytes.at(-1)! ^ 1)]))
  const elsewhere = join(freshFolder(), 'data')
  expect(await gw(['restore', backups, '--backup', id, '--data-dir', elsewhere])).toMatchObject({
    code: 1,
    err: expect.stringContaining('is not what was written'),
  })
  expect(existsSync(join(elsewhere, 'gateway.db'))).toBe(false)
  expect((await gw(['restore', backups, '--backup', 'absent', '--data-dir', elsewhere])).code).toBe(1)
  expect((await gw(['restore', cwd, '--data-dir', elsewhere])).err).toContain('There is no complete backup')
})

test('C6: a start on a full disk ends with 74, names the directory and says what to do', async () => {
  const folder = freshFolder()
  // Every write to it finds no space.
  mkdirSync(join(folder, 'data'))
  symlinkSync('/dev/full', join(folder, 'data/lock-holder'))
  const { code, err } = await gw(['start', '--data-dir', join(folder, 'data'), '--port', '0', '--admin-port', '0'])
  expect(code).toBe(74)
  expect(err).toContain('no space left on device')
  expect(err).toContain(`look at the room and the disk of ${join(folder, 'data')}`)
})

test('C5: a log that is broken in front of acknowledged commits is named by start, inspect, doctor and backup, and is left as it is', async () => {
  const folder = freshFolder()
  const gateway = await createGateway({ dataDir: join(folder, 'data'), admin: { enabled: false } })
  gateway.post('/order', gateway.durable({ operation: 'order' }), (c) => c.json({}, 201))
  await gateway.start()
  for (const key of ['a', 'b']) await gateway.request('/order', { method: 'POST', headers: { 'idempotency-key': key } })
  // As a kill leaves it.
  const left = join(folder, 'left')
  cpSync(join(folder, 'data'), left, { recursive: true, filter: (path) => !/lock/.test(path) })
  await gateway.close()
  const path = join(left, 'gateway.db-wal')
  const log = readFileSync(path)
  log[1_000]! ^= 1
  writeFileSync(path, log)
  const inspected = await gw(['inspect', left])
  expect([inspected.code, inspected.out]).toEqual([1, expect.stringContaining('the log is broken at its frame 1')])
  const doctor = await gw(['doctor', '--data-dir', left])
  expect([doctor.code, doctor.out.replaceAll(/\s+/g, ' ')]).toEqual([
    1,
    expect.stringContaining('broken at its frame 1'),
  ])
  const backup = await gw(['backup', join(folder, 'backups'), '--data-dir', left])
  expect([backup.code, backup.err]).toEqual([1, expect.stringContaining('broken at its frame 1')])
  const start = await gw(['start', '--data-dir', left, '--port', '0', '--admin-port', '0'])
  expect([start.code, start.err]).toEqual([74, expect.stringContaining(`cut it to 32 bytes`)])
  expect(readFileSync(path).equals(log)).toBe(true)
})

test('G12: inspect shows a directory whose gateway was killed with its log, and leaves it as it is', async () => {
  const { dataDir, runs } = await written()
  const db = new DatabaseSync(join(dataDir, 'gateway.db'))
  db.exec('PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; DELETE FROM gw_key')
  // As a kill leaves it: file and log are there, and nobody has them open.
  const left = join(freshFolder(), 'data')
  cpSync(dataDir, left, { recursive: true })
  db.close()
  const before = stateOf(left)
  const { code, out } = await gw(['inspect', left, '--json'])
  const report = JSON.parse(out)
  expect([code, report.runs.total, report.keys.keys, report.remark]).toEqual([
    0,
    runs.length,
    0,
    expect.stringContaining('killed'),
  ])
  expect(stateOf(left)).toEqual(before)
  const text = await gw(['inspect', left, '--quick'], { env: { COLUMNS: '80' } })
  for (const line of text.out.split('\n').filter((each) => !each.startsWith('note') && !each.startsWith('place')))
    expect(line.length).toBeLessThanOrEqual(80)
  expect(await gw(['inspect', freshFolder()])).toMatchObject({ code: 1 })
  expect(await gw(['inspect', 'postgres://nobody:hidden@127.0.0.1:1/none'])).toMatchObject({
    code: 69,
    err: expect.not.stringContaining('hidden'),
  })
})

test('G12: migrate says what is to be done and does it once', async () => {
  const dataDir = join(freshFolder(), 'data')
  const at = ['--data-dir', dataDir]
  expect((await gw(['migrate', '--check', ...at])).code).toBe(1)
  expect(await gw(['migrate', ...at])).toMatchObject({ code: 0, out: expect.stringContaining('Migrated.') })
  expect(await gw(['migrate', '--check', ...at])).toMatchObject({
    code: 0,
    out: expect.stringContaining('Nothing to do'),
  })
  const db = new DatabaseSync(join(dataDir, 'gateway.db'))
  db.exec("UPDATE gw_schema SET version = 99 WHERE owner = 'events'")
  db.close()
  expect(await gw(['migrate', ...at])).toMatchObject({ code: 1, err: expect.stringContaining('run a newer gw') })
  expect(await gw(['doctor', ...at])).toMatchObject({ code: 1, out: expect.stringMatching(/✗ migrations/) })
})

test('G12: doctor says what is wrong and how to mend it', async () => {
  const { dataDir } = await written()
  const well = await gw(['doctor', '--data-dir', dataDir, '--json'])
  expect(JSON.parse(well.out)).toMatchObject({ ok: true })
  expect(well.code).toBe(0)
  chmodSync(dataDir, 0o777)
  chmodSync(join(dataDir, 'gateway.db'), 0o644)
  const open = await gw(['doctor', '--data-dir', dataDir], { env: { GW_ADMIN_HOST: '0.0.0.0' } })
  expect(open.code).toBe(1)
  for (const mend of [`Run: chmod 700 ${dataDir}`, 'chmod 600', 'Set GW_ADMIN_TOKEN'])
    expect(open.out.replaceAll(/\s+/g, ' ')).toContain(mend)
  expect(await gw(['doctor'], { env: { PORT: 'eighty' } })).toMatchObject({
    code: 78,
    out: expect.stringContaining('port (PORT)'),
  })
  expect(await gw(['doctor'], { env: { DATABASE_URL: 'postgres://nobody:hidden@127.0.0.1:1/none' } })).toMatchObject({
    code: 1,
    out: expect.not.stringContaining('hidden'),
  })
})

test('G12: doctor names the runs that do not get on, and why', async () => {
  const request = { requestId: undefined, version: '1', method: 'POST', route: '/x', principal: undefined } as const
  const { dataDir } = await written({}, async (gateway) => {
    const { store } = gateway.checkpoints
    const longAgo = Date.now() - 3_600_000
    const unit = store.unit()
    for (const [operation, changes] of [
      ['asleep', { status: 'waiting', wakeAt: longAgo }],
      ['unknown', { status: 'queued' }],
      ['approval', { status: 'parked', reason: 'kept charge#1, got refund#1' }],
      ['given-up', { status: 'dead' }],
      ['half-told', { status: 'completed', settled: false }],
    ] as const) {
      const run = gateway.checkpoints.newRecord(true, { ...request, operation, subject: undefined })
      const input = { url: 'http://h/x', headers: [], variables: '{}', body: new Uint8Array() }
      unit.add(store.accept({ ...run, settled: true, ...changes, updatedAt: longAgo }, input))
    }
    await unit.commit()
  })
  const { code, out } = await gw(['doctor', '--data-dir', dataDir, '--json'])
  const { findings } = JSON.parse(out) as {
    readonly findings: readonly { check: string; state: string; detail: string }[]
  }
  const about = (check: string) => findings.filter((each) => each.check === check)
  expect(about('stuck runs')).toEqual([
    expect.objectContaining({
      state: 'warning',
      detail: expect.stringMatching(/^1 should have gone on 1 h ago: asleep /),
    }),
    expect.objectContaining({ state: 'warning', detail: expect.stringContaining('unknown (version 1)') }),
  ])
  expect(about('parked runs')).toEqual([
    expect.objectContaining({ detail: '1 wait for a decision, the newest because: kept charge#1, got refund#1' }),
  ])
  expect(about('dead runs')).toEqual([expect.objectContaining({ state: 'failed', detail: '1 were given up' })])
  expect(about('unsettled runs')).toEqual([expect.objectContaining({ detail: expect.stringContaining('half-told') })])
  expect(code).toBe(1)
})
