const due = new Set<() => void>()
let listening = false

/**
 * Runs `work` when the function it gives is called, or when the process is interrupted, whichever comes first: for temporary files.
 */
export function atEnd(work: () => void): () => void {
  if (!listening) {
    listening = true
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const)
      process.once(signal, () => {
        for (const each of due) each()
        process.exit(code)
      })
  }
  due.add(work)
  return () => {
    if (due.delete(work)) work()
  }
}
