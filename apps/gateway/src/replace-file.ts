import { closeSync, fsyncSync, openSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** Writes a file, mode 0600: whole or not at all, also where the power goes in the middle: the bytes are synced before the name, the name before we go on. */
export function replaceFile(file: string, text: string): void {
  const next = `${file}.next`
  const written = openSync(next, 'w', 0o600)
  try {
    writeFileSync(written, text)
    fsyncSync(written)
  } finally {
    closeSync(written)
  }
  renameSync(next, file)
  const folder = openSync(dirname(file), 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
