import type { EventLog, Head, Register, StoreQuery } from '@gw/events'
import { CommandError } from '../failure.ts'

type Stored = Awaited<ReturnType<EventLog['read']>>

/** A log that is what it is: read from somewhere, and never written. */
export function fixedLog({
  id,
  base,
  head,
  registers,
  read,
}: {
  readonly id: string
  readonly base: Head
  readonly head: Head
  readonly registers: readonly Omit<Register, 'version'>[]
  read(query: StoreQuery): Promise<Stored>
}): EventLog {
  const refused = () => new CommandError('This log is only read')
  const nothing = { procedure: 'nothing', args: undefined }
  // The secret signs cursors, of which there are none here.
  const identity = { name: 'log/identity', value: JSON.stringify({ id, secret: '00'.repeat(32) }) }
  const all = [identity, ...registers]
    .map((register): Register => ({ ...register, version: 1 }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  return {
    durable: true,
    gapless: true,
    database: undefined,
    async open() {},
    unit: () => ({ add() {}, commit: () => Promise.reject(refused()) }),
    append: () => nothing,
    read,
    count: async (query) => (await read(query)).length,
    head: async () => head,
    base: async () => base,
    registers: async (prefix, after = '', limit = 1_000) =>
      all.filter(({ name }) => name.startsWith(prefix) && name > after).slice(0, limit),
    setRegister: () => nothing,
    drop: () => nothing,
  }
}
