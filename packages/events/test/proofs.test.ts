import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { memoryArchive } from '../src/archive-target.ts'
import { base64Of, bytesOf, fromHex, hexOf } from '../src/bytes.ts'
import { CompactRange, emptyRoot, nodeHash } from '../src/compact-range.ts'
import { chainHash, crc32, frameOf } from '../src/event.ts'
import { eventOfLine, lineOf } from '../src/event-line.ts'
import { EventStore, memoryEventStore } from '../src/index.ts'
import { treeOf } from '../src/log-tree.ts'
import { consistencyPath, inclusionPath, rangeRoot } from '../src/merkle.ts'
import {
  anchor,
  checkConsistency,
  checkpoints,
  exportBundle,
  newNoteKey,
  noteSigner,
  openNote,
  prove,
  proveConsistency,
  reanchor,
  signCheckpoint,
  verifyAnchored,
  verifyBundle,
  verifyConsistency,
  verifyInclusion,
  verifyProof,
} from '../src/proofs.ts'
import { sha256 } from '../src/sha256.ts'
import { closeDatabases } from './test-database.ts'

afterEach(closeDatabases)

const leafOf = (data: Uint8Array) => sha256(Uint8Array.of(0), data)

/** The definition of RFC 6962 §2.1, word for word. */
function definedRoot(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return emptyRoot()
  if (leaves.length === 1) return leaves[0]!
  let k = 1
  while (k * 2 < leaves.length) k *= 2
  return nodeHash(definedRoot(leaves.slice(0, k)), definedRoot(leaves.slice(k)))
}

const subtreesOf = (leaves: readonly Uint8Array[]) => async (level: number, index: bigint) => {
  const width = 2 ** level
  return definedRoot(leaves.slice(Number(index) * width, (Number(index) + 1) * width))
}

test('T2: the roots of the known test vectors of RFC 6962', () => {
  const inputs = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
  const roots = [
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
    'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
    'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
    '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
    'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
    '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
  ]
  expect(hexOf(emptyRoot())).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  const range = new CompactRange()
  inputs.forEach((input, i) => {
    range.add(leafOf(fromHex(input)))
    expect(hexOf(range.root())).toBe(roots[i])
  })
})

test('T2: for every size from 1 to 257, root, inclusion and consistency hold as RFC 6962 defines them', async () => {
  const leaves = Array.from({ length: 257 }, (_, i) => leafOf(bytesOf(String(i))))
  const subtrees = subtreesOf(leaves)
  const range = new CompactRange()
  const roots: Uint8Array[] = [emptyRoot()]
  for (const leaf of leaves) {
    range.add(leaf)
    roots.push(range.root())
  }
  for (let size = 1; size <= 257; size++) {
    if (size % 16 === 1 || size < 20) expect(hexOf(roots[size]!)).toBe(hexOf(definedRoot(leaves.slice(0, size))))
    for (const index of new Set([0, size >> 1, size - 1])) {
      const path = await inclusionPath(subtrees, BigInt(index), BigInt(size))
      expect(verifyInclusion(leaves[index]!, BigInt(index), BigInt(size), path, roots[size]!)).toBe(true)
      expect(verifyInclusion(leaves[(index + 1) % 257]!, BigInt(index), BigInt(size), path, roots[size]!)).toBe(false)
      if (size > 1)
        expect(verifyInclusion(leaves[index]!, BigInt(index), BigInt(size), path.slice(1), roots[size]!)).toBe(false)
    }
    for (const older of new Set([1, size >> 1, size - 1, size])) {
      if (older === 0) continue
      const path = await consistencyPath(subtrees, BigInt(older), BigInt(size))
      expect(verifyConsistency(BigInt(older), BigInt(size), path, roots[older]!, roots[size]!)).toBe(true)
      if (older < size)
        expect(verifyConsistency(BigInt(older), BigInt(size), path, roots[older - 1]!, roots[size]!)).toBe(false)
    }
  }
})

test('T2: a proof with any changed part is refused', async () => {
  const leaves = Array.from({ length: 50 }, (_, i) => leafOf(bytesOf(String(i))))
  await fc.assert(
    fc.asyncProperty(fc.nat(49), fc.nat(7), fc.nat(255), async (index, node, bit) => {
      const path = await inclusionPath(subtreesOf(leaves), BigInt(index), 50n)
      const at = node % path.length
      const changed = path.map((hash, i) =>
        i === at ? hash.map((b, j) => (j === bit >> 3 ? b ^ (1 << (bit & 7)) : b)) : hash,
      )
      const root = await rangeRoot(subtreesOf(leaves), 0n, 50n)
      expect(verifyInclusion(leaves[index]!, BigInt(index), 50n, changed, root)).toBe(false)
    }),
    { numRuns: 50 },
  )
})

async function filled(count: number, data: (i: number) => unknown = (i) => ({ i })) {
  const events = new EventStore({ store: memoryEventStore() })
  for (let i = 0; i < count; i++) await events.append('a', data(i), { stream: `s${i % 3}` })
  return events
}

const signerOf = async (name = 'log.example') => noteSigner(name, await newNoteKey())

test('T2: a checkpoint is a signed note that only its key, name, origin, size and root open', async () => {
  const events = await filled(5)
  const signer = await signerOf()
  const note = await signCheckpoint(events, signer)
  expect(note).toMatch(
    /^gateway-events\/[0-9a-f-]{36}\n5\n[A-Za-z0-9+/]{43}=\n\n\u2014 log\.example [A-Za-z0-9+/=]+\n$/,
  )
  const { size, root } = await openNote(note, [signer.verifier])
  expect([size, hexOf(root)]).toEqual([5n, (await events.verify()).root])
  const other = await signerOf()
  for (const wrong of [
    note.replace('\n5\n', '\n4\n'),
    note.replace('gateway', 'Gateway'),
    note.replace(base64Of(root), base64Of(new Uint8Array(32))),
    note.replace('log.example', 'log.exampl'),
    note.split('\n\n')[0]!,
  ])
    await expect(openNote(wrong, [signer.verifier])).rejects.toMatchObject({ code: 'invalid_proof' })
  await expect(openNote(note, [other.verifier])).rejects.toMatchObject({ code: 'invalid_proof' })
  const unreadable = note.replace('\n\n', '\n\n\u2014 log.example A\n')
  expect(await openNote(unreadable, [signer.verifier])).toMatchObject({ size: 5n })
  const proof = await prove(events, 3n, signer)
  for (const wrong of [{ index: 'x' }, { size: '' }, { before: '!' }, { path: ['!'] }])
    await expect(verifyProof({ ...proof, ...wrong }, [signer.verifier])).rejects.toMatchObject({
      code: 'invalid_proof',
    })
})

test('T2: every event of a log of 600 is proven in it, and the log of 600 is that of 1, 256, 300 grown', async () => {
  const events = await filled(300)
  const signer = await signerOf()
  const older = await openNote(await signCheckpoint(events, signer), [signer.verifier])
  for (let i = 0; i < 300; i++) await events.append('b', i)
  for (const position of [1n, 2n, 255n, 256n, 257n, 300n, 511n, 600n]) {
    const proof = await prove(events, position, signer)
    const event = eventOfLine(proof.event)!
    expect(await verifyProof(proof, [signer.verifier])).toMatchObject({ size: 600n })
    const forged = { ...proof, event: lineOf({ ...event, data: '{"forged":1}' }) }
    await expect(verifyProof(forged, [signer.verifier])).rejects.toMatchObject({ code: 'invalid_proof' })
  }
  const newer = await openNote(await signCheckpoint(events, signer), [signer.verifier])
  checkConsistency(await proveConsistency(events, 300n, 600n), older, newer)
  const path = await proveConsistency(events, 256n, 600n)
  expect(() => checkConsistency(path, older, newer)).toThrow(expect.objectContaining({ code: 'invalid_proof' }))
  expect(hexOf(await treeOf(events).root(600n))).toBe((await events.verify()).root)
})

async function bundleOf(events: EventStore, notes: readonly string[] = []) {
  const lines: string[] = []
  for await (const line of exportBundle(events, { notes })) lines.push(line)
  return lines
}

/** The bundle after a change of one event that made its checksum fit again, and from there the whole chain where `anew`. */
function forged(lines: readonly string[], at: number, anew: boolean): string[] {
  let before = eventOfLine(lines[at - 1]!)!.hash
  return lines.map((line, i) => {
    if (i < at || (i > at && !anew)) return line
    const event = { ...eventOfLine(line)!, ...(i === at ? { data: '{"forged":1}' } : {}) }
    const hash = anew ? chainHash(before, frameOf(event)) : event.hash
    before = hash
    return `${lineOf({ ...event, hash, crc: crc32(frameOf(event), hash) })}\n`
  })
}

const damages: readonly (readonly [string, string, string, (lines: string[]) => string[]])[] = [
  ['a last line that ends in its middle', 'torn_tail', '20', (l) => [...l.slice(0, 20), l[20]!.slice(0, 40)]],
  ['a flipped bit', 'bit_rot', '5', (l) => l.with(5, l[5]!.replace('"a"', '"q"'))],
  ['a line that is no line', 'bit_rot', '5', (l) => l.with(5, '\u0000\u0000\n')],
  ['an edit', 'edit', '5', (l) => forged(l, 5, false)],
  ['a deletion', 'deletion', '5', (l) => l.filter((_, i) => i !== 5)],
  ['two lines that changed places', 'reorder', '5', (l) => l.with(5, l[6]!).with(6, l[5]!)],
  ['a cut-off end', 'truncation', '15', (l) => l.slice(0, 16)],
  ['a cut-off front', 'retention_cut', '1', (l) => [l[0]!, ...l.slice(4)]],
  ['a history made anew', 'fork', '20', (l) => forged(l, 5, true)],
]

for (const [name, kind, position, damage] of damages) {
  test(`T3: offline, ${name} is called ${kind}`, async () => {
    const events = await filled(20)
    const signer = await signerOf()
    const note = await signCheckpoint(events, signer)
    const lines = await bundleOf(events)
    const trust = { verifiers: [signer.verifier], notes: [note] }
    expect(await verifyBundle([lines.join('')], trust)).toMatchObject({ ok: true, events: 20, truncationChecked: true })
    const { problems } = await verifyBundle(damage(lines), trust)
    const kinds = problems.map((problem) => [problem.kind, problem.position])
    if (kind === 'reorder') expect(kinds[0]![0]).toBe('deletion')
    else expect(kinds).toEqual([[kind, position]])
    if (kind === 'reorder') expect(kinds.map(([k]) => k)).toContain('reorder')
  })
}

test('T3: a bundle that hides where its tree begins is not called compared, and one that begins at the start cannot hide it', async () => {
  const events = await filled(20)
  const signer = await signerOf()
  const trust = { verifiers: [signer.verifier], notes: [await signCheckpoint(events, signer)] }
  const anew = forged(await bundleOf(events), 5, true)
  const header = JSON.parse(anew[0]!) as { base: object }
  const withHeader = (change: object, events: readonly string[]) => [
    `${JSON.stringify({ ...header, ...change })}\n`,
    ...events,
  ]
  expect(await verifyBundle(withHeader({ frontier: null }, anew.slice(1)), trust)).toMatchObject({
    ok: false,
    problems: [{ kind: 'bit_rot', position: '0' }],
  })
  const [, , , , , last, ...rest] = anew
  const base = { position: '5', time: 0, hash: (JSON.parse(last!) as string[])[16] }
  expect(await verifyBundle(withHeader({ frontier: null, base }, rest), trust)).toMatchObject({
    truncationChecked: false,
  })
  for (const frontier of [[], ['00'], 'x', ['00'.repeat(32)]])
    expect(await verifyBundle(withHeader({ frontier, base }, rest), trust)).toMatchObject({
      ok: false,
      problems: [{ kind: 'bit_rot', position: '0' }],
    })
})

test('T3: any single character of an event that is changed is noticed', async () => {
  const events = await filled(6)
  const signer = await signerOf()
  const note = await signCheckpoint(events, signer)
  const text = (await bundleOf(events)).join('')
  for (let i = text.indexOf('\n') + 1; i < text.length; i++) {
    const changed = text.slice(0, i) + (text[i] === '7' ? '8' : '7') + text.slice(i + 1)
    const { ok } = await verifyBundle([changed], { verifiers: [signer.verifier], notes: [note] })
    expect([i, ok]).toEqual([i, false])
  }
})

test('T2: an anchor outside shows a fork and a truncation; to begin anew leaves an event that says who and why', async () => {
  const target = memoryArchive()
  const signer = await signerOf()
  const events = await filled(10)
  await anchor(await signCheckpoint(events, signer), target, [signer.verifier])
  await events.append('a', {})
  expect(await verifyAnchored(events, target, [signer.verifier])).toMatchObject({ ok: true, truncationChecked: true })

  const store = memoryEventStore()
  const identity = (await events.store.registers('log/identity'))[0]!
  const restored = new EventStore({ store })
  const unit = store.unit()
  unit.add(store.setRegister('log/identity', identity.value, 0))
  await unit.commit()
  for (let i = 0; i < 7; i++) await restored.append('a', {})
  expect((await verifyAnchored(restored, target, [signer.verifier])).problems.map(({ kind }) => kind)).toEqual([
    'truncation',
  ])
  for (let i = 0; i < 3; i++) await restored.append('a', {})
  expect((await verifyAnchored(restored, target, [signer.verifier])).problems.map(({ kind }) => kind)).toEqual(['fork'])
  await expect(anchor(await signCheckpoint(restored, signer), target, [signer.verifier])).rejects.toMatchObject({
    code: 'invalid_proof',
  })
  const note = await reanchor(restored, { signer, target, actor: 'ann', reason: 'restored from a backup' })
  expect((await openNote(note, [signer.verifier])).size).toBe(11n)
  const { events: said } = await restored.query({ type: 'log.reanchored' })
  expect(said[0]).toMatchObject({
    actor: 'ann',
    data: { reason: 'restored from a backup', problems: [{ kind: 'fork' }] },
  })
})

test('T2: every note that was signed is listed, however many there are, oldest first', async () => {
  const events = new EventStore({ store: memoryEventStore() })
  const signer = await noteSigner('log.example', await newNoteKey())
  const signed: string[] = []
  for (let i = 0; i < 1_005; i++) {
    await events.append('a', i)
    signed.push(await signCheckpoint(events, signer))
  }
  expect(await checkpoints(events)).toEqual(signed)
})
