import type { LoadHookSync } from 'node:module'
import type { DatabaseBug } from './cluster.ts'

/** A change to a package's code as it is loaded; `from` must be there exactly once. */
export interface Patch {
  /** How the file's path ends. */
  readonly file: string
  readonly from: string
  readonly to: string
}

/** A planted bug, by its number in the list of the specification or by the rule that it breaks. */
export interface Mutant {
  readonly name: string
  readonly bug: string
  /** A seed that finds it, of those that only one in many does; what is changed elsewhere can make it another. */
  readonly seed?: number
  readonly patches?: readonly Patch[]
  readonly database?: DatabaseBug
}

const runs = 'packages/checkpoint/dist/'
const keys = 'packages/dedup/dist/'

/** What the simulator must find, each within 20,000 seeds. */
export const mutants: readonly Mutant[] = [
  { name: '5', bug: 'an outcome is acknowledged before it is written', database: 'acks-early' },
  {
    name: '9',
    bug: 'a key is read and then set, instead of claimed',
    patches: [
      {
        file: `${keys}stores/memory.js`,
        from: 'if (held !== undefined && !isOver(held, at)) {',
        to: 'if (held?.response !== undefined) {',
      },
    ],
  },
  {
    name: '10',
    bug: 'a lease without a fence',
    patches: [{ file: `${runs}transitions.js`, from: 'if (run.fence === fence) {', to: 'if (true) {' }],
  },
  { name: '11', bug: 'leases and windows by the wall clock', database: 'wall-clock' },
  {
    name: '12',
    bug: 'the outcome is stored after the reply',
    patches: [
      {
        file: `${runs}driver.js`,
        from: 'durability = await unit.commit();',
        to: "durability = 'fsync';\nunit.commit().catch(() => {});",
      },
    ],
  },
  {
    name: '13',
    bug: 'a key is released by whoever held it once',
    patches: [
      {
        file: `${keys}stores/memory.js`,
        from: 'change(link, drop)',
        to: "change({ key: link.key, token: entries.get(link.key)?.token ?? '' }, drop)",
      },
    ],
  },
  {
    name: '18 query',
    bug: 'the fingerprint ignores method, path and query',
    patches: [
      {
        file: `${keys}identity.js`,
        from: 'encoder.encode(targetOf(c, route, contentType))',
        to: "encoder.encode('')",
      },
    ],
  },
  {
    name: '18 principal',
    bug: "a user's key meets another's",
    patches: [
      {
        file: `${keys}key-names.js`,
        from: 'lengthPrefixed([tenant, principal, method, path, key])',
        to: 'lengthPrefixed([tenant, method, path, key])',
      },
    ],
  },
  {
    name: '19 runs',
    bug: 'collection takes what is old, whether it is finished or not',
    patches: [
      {
        file: `${runs}transitions.js`,
        from: 'return finished.has(run.status) && run.settled && run.expiresAt !== undefined && run.expiresAt <= now;',
        to: 'return run.createdAt + 10_000 <= now;',
      },
    ],
  },
  {
    name: '19 keys',
    bug: 'a claim in flight counts as over once its lease is',
    patches: [
      {
        file: `${keys}stores/memory.js`,
        from: 'entry.link === undefined && entry.leaseUntil + entry.windowMs <= at',
        to: 'entry.leaseUntil <= at',
      },
    ],
  },
  {
    name: '20 header',
    bug: 'a replay drops a header',
    patches: [
      {
        file: `${keys}replay.js`,
        from: '.filter(([name]) => name !== spillField)',
        to: ".filter(([name]) => name !== 'content-type')",
      },
    ],
  },
  {
    name: '20 status',
    bug: 'a replay is always 200',
    patches: [
      {
        file: `${keys}replay.js`,
        from: "encoding === 'identity' || accepts(acceptEncoding, encoding))\n        return new Response(spilled ?? body, { status,",
        to: "encoding === 'identity' || accepts(acceptEncoding, encoding))\n        return new Response(spilled ?? body, { status: 200,",
      },
    ],
  },
  {
    name: '21',
    bug: 'a run is updated without a new revision',
    patches: [{ file: `${runs}transitions.js`, from: 'revision: run.revision + 1', to: 'revision: run.revision' }],
  },
  {
    name: '22',
    bug: 'recovery resumes failed runs',
    patches: [
      { file: `${runs}transitions.js`, from: "case 'queued':", to: "case 'failed':\ncase 'queued':" },
      {
        file: `${runs}stores/memory.js`,
        from: 'for (const id of [...tables.active].sort()) {',
        to: 'for (const id of [...tables.runs.keys()].sort()) {',
      },
    ],
  },
  {
    name: '23',
    bug: 'a takeover uses the fence of the owner that died again',
    patches: [{ file: `${runs}transitions.js`, from: 'fence: run.fence + 1', to: 'fence: run.fence' }],
  },
  {
    name: '24',
    bug: 'a timeout is taken for "not executed"',
    patches: [
      {
        file: `${runs}middleware.js`,
        from: 'if (notApplied.has(code))',
        to: "if (notApplied.has(code) || code === 'unknown')",
      },
    ],
  },
  {
    name: '25',
    bug: 'two processes each think that the store is theirs alone',
    patches: [{ file: `${runs}recovery.js`, from: 'alone: !store.shared', to: 'alone: true' }],
  },
  { name: 'torn', bug: 'half of a unit survives a crash of the server', database: 'keeps-torn' },
  {
    name: 'S1',
    bug: 'a step resolves before it is kept',
    patches: [
      {
        file: `${runs}run.js`,
        from: 'await this.#commitSteps(steps);',
        to: 'this.#commitSteps(steps).catch(() => {});',
      },
    ],
  },
  {
    name: 'C1 completed',
    bug: 'a run completes although it was cancelled',
    patches: [
      {
        file: `${runs}transitions.js`,
        from: "if (ending.status === 'completed' && run.cancelRequested)",
        to: 'if (false)',
      },
    ],
  },
  {
    name: 'C1 asleep',
    bug: 'a cancellation does not reach a run that waits beside other work',
    patches: [{ file: `${runs}waits.js`, from: 'reject(reason);', to: '' }],
  },
  {
    name: 'R2',
    bug: 'a sweep that was due during another is forgotten, and every later one with it',
    patches: [
      {
        file: `${runs}recovery.js`,
        from: 'this.#nextSweepAt = Number.POSITIVE_INFINITY;\n            if (this.#sweeping === undefined)\n                void this.sweep();\n            else\n                this.#again = true;',
        to: 'void this.sweep();',
      },
    ],
  },
  {
    name: 'R1',
    bug: 'the end of a life of a run makes its process forget the next one',
    patches: [{ file: `${runs}driver.js`, from: 'if (node.live.get(record.id)?.run === run)', to: 'if (true)' }],
  },
  {
    name: 'R4',
    bug: "an interrupted run is answered with its handler's error",
    seed: 161,
    patches: [
      {
        file: `${runs}middleware.js`,
        from: "if (first.kind === 'lost' || first.kind === 'unknown')\n",
        to: 'if (false)\n',
      },
    ],
  },
  {
    name: 'C1 replay',
    bug: 'a cancellation during a replay forgets the compensations that it had not come to',
    seed: 3320,
    patches: [{ file: `${runs}driver.js`, from: 'if (run.unrequested !== undefined) {', to: 'if (false) {' }],
  },
  {
    name: 'ports',
    bug: 'a wait that does not go through the port',
    patches: [{ file: `${runs}waits.js`, from: 'this.#timers.setTimeout(', to: 'setTimeout(' }],
  },
  {
    name: 'S3 unknown',
    bug: 'a cancelled run forgets that the fate of a step is not known',
    seed: 606,
    patches: [
      {
        file: `${runs}run.js`,
        from: 'if (this.#stop !== undefined && (isFinal(this.#stop) || !isFinal(reason)))',
        to: 'if (this.#stop !== undefined)',
      },
    ],
  },
  {
    name: 'C1 parked',
    bug: 'a run that was cancelled is parked without knowing it',
    seed: 1738,
    patches: [
      {
        file: `${runs}transitions.js`,
        from: 'run.cancelRequested && cancelSeen !== true',
        to: "run.cancelRequested && suspension.status === 'waiting'",
      },
    ],
  },
  {
    name: 'C2 fork',
    bug: 'a fork believes in effects that were taken back',
    seed: 194,
    patches: [
      {
        file: `${runs}interventions.js`,
        from: '...kept.slice(0, at).filter((step) => !undone.has(nameOf(step)))',
        to: '...kept.slice(0, at)',
      },
    ],
  },
  {
    name: 'C2 retry',
    bug: 'an effect that is made again is taken for another handler',
    seed: 2086,
    patches: [{ file: `${runs}replay.js`, from: '|| this.#undone.has(key)', to: '' }],
  },
  {
    name: 'C2 done',
    bug: 'a person gives a value to a step that has one',
    seed: 479,
    patches: [{ file: `${runs}interventions.js`, from: "|| named.some(({ state }) => state === 'kept')", to: '' }],
  },
  {
    name: 'P5',
    bug: 'a decision is carried out on a run that has changed since',
    seed: 2012,
    patches: [{ file: `${runs}transitions.js`, from: 'if (run.revision !== revision)', to: 'if (false)' }],
  },
  {
    name: 'O3',
    bug: 'an open breaker spends an attempt',
    patches: [
      {
        file: `${runs}retry.js`,
        from: 'wakeAt: retryAtMs, attempt }',
        to: 'wakeAt: retryAtMs, attempt: attempt + 1 }',
      },
    ],
  },
  {
    name: 'S3 blindly',
    bug: 'a step that must not run twice is run again after a crash',
    patches: [
      { file: `${runs}run.js`, from: "if (onCrash === 'rerun')", to: "if (onCrash === 'rerun' || onCrash === 'park')" },
    ],
  },
  {
    name: 'S3 marker',
    bug: 'a step that must not run twice begins without a durable mark',
    patches: [{ file: `${runs}run.js`, from: "if (onCrash !== 'rerun' && marker === undefined)", to: 'if (false)' }],
  },
  {
    name: 'P2 late',
    bug: 'a key in a store of its own is given to another run while the first may still be accepted',
    seed: 2492,
    patches: [{ file: `${keys}middleware.js`, from: 'await route.runs.preclude?.(record.link)', to: 'true' }],
  },
  {
    name: 'O4',
    bug: 'an outcome that its key did not hear of counts as settled',
    seed: 224,
    patches: [
      {
        file: `${runs}driver.js`,
        from: 'await settle?.(run, outcome);',
        to: 'await settle?.(run, outcome).catch(() => { });',
      },
    ],
  },
  {
    name: 'T5 decision',
    bug: 'the value that a person gives to a step lies there unsealed',
    seed: 182,
    patches: [
      {
        file: `${runs}stores/sealed.js`,
        from: 'keep: await sealSteps(id, keep, await subjects.of(id))',
        to: 'keep',
      },
    ],
  },
  {
    name: 'T5 fork',
    bug: 'a fork takes over what its source kept unsealed',
    patches: [
      { file: `${runs}stores/sealed.js`, from: '{ steps: await sealSteps(id, steps, subject) }', to: '{ steps }' },
    ],
  },
  {
    name: 'T5 subject',
    bug: 'a process that has not met a run seals for nobody',
    patches: [
      {
        file: `${runs}stores/sealed.js`,
        from: 'return run === undefined ? undefined : learn(run);',
        to: 'return undefined;',
      },
    ],
  },
  {
    name: 'S3',
    bug: 'a cancellation told again cuts compensations short',
    seed: 3320,
    patches: [
      {
        file: `${runs}run.js`,
        from: "if (this.#plan !== undefined && 'code' in reason && reason.code === 'run_cancelled')",
        to: 'if (false)',
      },
    ],
  },
]

/** Which files a bug has been planted in, in this thread. */
export const plantedAt: Set<string> = new Set()

/** A load hook that plants a bug; it refuses to go on where the code that it changes is no longer there. */
export function planted(patches: readonly Patch[]): LoadHookSync {
  return (url, context, next) => {
    const loaded = next(url, context)
    const path = url.split('?')[0]!
    const here = patches.filter(({ file }) => path.endsWith(file))
    if (here.length === 0) return loaded
    let source = String(loaded.source)
    for (const { file, from, to } of here) {
      if (source.split(from).length !== 2) throw new Error(`${file} does not have this exactly once: ${from}`)
      source = source.replace(from, () => to)
      plantedAt.add(file)
    }
    return { ...loaded, source }
  }
}
