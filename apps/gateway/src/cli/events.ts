import { readFileSync } from 'node:fs'
import { exportCloudEvents } from '@gw/events/cloudevents'
import { exportBundle, type InclusionProof, proveIn, verifyProof } from '@gw/events/proofs'
import { CommandError, exit, messageOf } from './failure.ts'
import { type LogFlags, notesOf, openLog, verifiersOf, verifyAt } from './offline/log-place.ts'
import type { GatewayFlags } from './online/connection.ts'
import {
  type EventFlags,
  exportOnline,
  printVerification,
  proveOnline,
  verifyOnline,
  writeTo,
} from './online/events.ts'
import { facts } from './table.ts'
import { paint } from './terminal.ts'

/** `gw events verify`: of a running gateway, or of a log where it lies. */
export async function verifyEvents(
  place: string | undefined,
  flags: GatewayFlags & LogFlags & { readonly json?: boolean },
): Promise<void> {
  if (place !== undefined) return printVerification(await verifyAt(place, flags), flags.json === true)
  if ((flags.note ?? flags.verifier ?? flags.archive ?? flags.log) !== undefined)
    throw new CommandError(
      'Expected the place of a log, as ./data, with --note, --verifier, --archive and --log',
      exit.usage,
    )
  await verifyOnline(flags)
}

/** `gw events prove`: signed by a running gateway, or against a checkpoint that was signed before. */
export async function proveEvent(
  position: string,
  place: string | undefined,
  flags: GatewayFlags & LogFlags & { readonly output?: string },
): Promise<void> {
  if (place === undefined) return proveOnline(position, flags)
  const verifiers = verifiersOf(flags)
  if (verifiers.length === 0)
    throw new CommandError(
      'Expected --verifier with the public key that signed the checkpoint to prove against',
      exit.usage,
    )
  const opened = await openLog(place, flags)
  try {
    const given = notesOf(flags, verifiers)
    const note = given.at(-1) ?? opened.notes.at(-1)
    if (note === undefined)
      throw new CommandError(
        `No checkpoint lies with ${place}: give one with --note, as gw events prove of a running gateway made it`,
      )
    const proof = await proveIn(opened.events, BigInt(position), note, verifiers)
    await writeTo(flags.output, [`${JSON.stringify({ inclusion: proof, verifier: verifiers[0] }, undefined, 2)}\n`])
  } finally {
    await opened.close()
  }
}

/** `gw events check`: whether a proof holds, with nothing but a public key. */
export async function checkProof(
  file: string,
  flags: { readonly verifier?: readonly string[]; readonly json?: boolean },
): Promise<void> {
  const verifiers = verifiersOf(flags)
  const proof = proofIn(file)
  try {
    const { origin, size } = await verifyProof(proof, verifiers)
    const [position, stream, , time, , type] = JSON.parse(proof.event) as [
      string,
      string,
      number,
      number,
      string,
      string,
    ]
    const at = new Date(time).toISOString()
    if (flags.json === true)
      return console.log(JSON.stringify({ ok: true, origin, size: String(size), position, type, time: at }))
    console.log(
      `${paint.green('It holds')}: the event is in the log that was signed.\n\n${facts([
        ['event', `${position} ${type}`],
        ['stream', stream],
        ['time', at],
        ['log', origin],
        ['events then', String(size)],
      ])}`,
    )
  } catch (error) {
    if (flags.json === true) console.log(JSON.stringify({ ok: false, message: messageOf(error) }))
    else console.error(paint.red(`It does not hold: ${messageOf(error)}`))
    process.exitCode = exit.failed
  }
}

function proofIn(file: string): InclusionProof {
  try {
    const { inclusion } = JSON.parse(readFileSync(file, 'utf8')) as { readonly inclusion: InclusionProof }
    if (typeof inclusion.event === 'string' && typeof inclusion.note === 'string') return inclusion
  } catch (error) {
    throw new CommandError(`${file} is not a proof as gw events prove makes it`, exit.usage, { cause: error })
  }
  throw new CommandError(`${file} is not a proof as gw events prove makes it`, exit.usage)
}

/** `gw events export`: from a running gateway, or from a log where it lies. */
export async function exportEvents(
  place: string | undefined,
  flags: GatewayFlags & LogFlags & EventFlags & { readonly format: string; readonly output?: string },
): Promise<void> {
  if (place === undefined) return exportOnline(flags)
  const { actor, type, subject, stream, requestId, format } = flags
  const filter = { actor, type: type?.split(','), subject, stream, requestId }
  const chosen = Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined))
  if (format === 'bundle' && Object.keys(chosen).length > 0)
    throw new CommandError('Expected no filter with --format bundle: the chain is whole or none', exit.usage)
  const opened = await openLog(place, flags)
  try {
    const { events, notes } = opened
    await writeTo(
      flags.output,
      format === 'bundle'
        ? exportBundle(events, { notes: notes.slice(-1) })
        : format === 'ndjson'
          ? lines()
          : exportCloudEvents(events, { filter: chosen }),
    )
    async function* lines(): AsyncGenerator<string> {
      for (let cursor: string | undefined; ; ) {
        const page = await events.query({ ...chosen, limit: 1_000, ...(cursor === undefined ? {} : { cursor }) })
        for (const event of page.events) yield `${JSON.stringify(event)}\n`
        cursor = page.cursor
        if (cursor === undefined) return
      }
    }
  } finally {
    await opened.close()
  }
}
