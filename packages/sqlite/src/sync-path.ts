import { closeSync, fsyncSync, openSync } from 'node:fs'

/** Syncs a file, made where it is absent, or the names in a folder. */
export function syncPath(path: string, flags: 'w' | 'r'): void {
  const descriptor = openSync(path, flags, 0o600)
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
