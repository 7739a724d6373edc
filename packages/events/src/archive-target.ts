/** A place for objects that are written once: a folder, a bucket, another store. */
export interface ArchiveTarget {
  /** Writes an object durably unless one of this name exists. */
  put(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<'created' | 'exists'>
  get(name: string): Promise<Uint8Array<ArrayBuffer> | undefined>
  /** The names that begin with `prefix`, sorted. */
  list(prefix: string): Promise<readonly string[]>
}

/** Keeps objects in this process, for tests. */
export function memoryArchive(): ArchiveTarget {
  const objects = new Map<string, Uint8Array<ArrayBuffer>>()
  return {
    async put(name, bytes) {
      if (objects.has(name)) return 'exists'
      objects.set(name, bytes.slice())
      return 'created'
    },
    async get(name) {
      return objects.get(name)
    },
    async list(prefix) {
      return [...objects.keys()].filter((name) => name.startsWith(prefix)).sort()
    },
  }
}
