import { hexOf } from './crypto.ts'

/** A body that is being written. */
export interface SpillWriter {
  append(chunk: Uint8Array): Promise<void>
  /** Makes what was appended readable under its name. */
  finish(): Promise<void>
  /** Forgets what was appended. */
  abort(): Promise<void>
}

/** Where bodies go that are too long for memory: files, or an object store. Names are hexadecimal. */
export interface SpillStore {
  write(name: string): Promise<SpillWriter>
  /** `undefined` when there is no such body. */
  read(name: string): Promise<ReadableStream<Uint8Array> | undefined>
  delete(name: string): Promise<void>
}

/** The field of a kept answer that names its spilled body; never sent. */
export const spillField = 'gw-spilled'

/** A name for a body that nobody can guess. */
export function spillName(): string {
  return hexOf(crypto.getRandomValues(new Uint8Array(16)))
}
