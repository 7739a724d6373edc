interface Connectable {
  connect(): Promise<unknown>
  destroy(): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
}

/** A client that is opened before a file's tests and closed after them. */
export function connected<Client extends Connectable>(create: () => Promise<Client>) {
  let client: Client | undefined
  return {
    get: () => client!,
    async open() {
      client = await create()
      client.on('error', () => {})
      await client.connect()
    },
    async close() {
      client?.destroy()
    },
  }
}
